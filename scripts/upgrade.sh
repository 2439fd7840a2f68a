# Sourced by run.sh: moving a checkout to another version, on request only.

# upgrade [TAG]: to the newest version, or to that one, if its tag is signed by a key this user trusts.
# Nothing is changed otherwise.
upgrade() {
    local tag=${1:-} named
    if ! git diff --quiet HEAD --; then
        echo "this checkout has changes of its own: commit them or undo them (git stash), then upgrade" >&2
        return 1
    fi
    git fetch --quiet --tags || return 1
    if [ -z "$tag" ]; then
        tag=$(git tag --list 'v*' --sort=-version:refname | head -n 1)
    fi
    if [ -z "$tag" ]; then
        echo "there is no version to upgrade to: no tag begins with v" >&2
        return 1
    fi
    # A signed tag keeps its signature under another name: an old version could pose as a new one.
    named=$(git for-each-ref --format='%(tag)' "refs/tags/$tag")
    if [ "$named" != "$tag" ]; then
        echo "the tag $tag is not a signed one of that name${named:+ (it was signed as $named)}: nothing was changed" >&2
        return 1
    fi
    if ! git verify-tag "$tag"; then
        echo "the tag $tag is not signed by a key you trust: nothing was changed. If you trust its signer, import the" >&2
        echo "key (gpg --import FILE), or name it in the file that git's gpg.ssh.allowedSignersFile says, and try again" >&2
        return 1
    fi
    git checkout --quiet --detach "refs/tags/$tag"
    echo "this is $tag now: start the node again to run it"
}
