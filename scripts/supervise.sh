# Sourced by run.sh: a node that is started again when it crashes, here or as a service.

START_SECONDS=10 # a node that has lasted longer was up

# keep_running miner|validator OPTIONS: in this terminal. A node that cannot start in the first place
# (code 1 before it was up) ends it with the reason; one that ends by itself or is interrupted (code 0)
# ends it too. One that was up once is started again whatever it met: an outage may outlast a start.
keep_running() {
    local what=$1 pause=1 began code was_up=
    shift
    while true; do
        began=$SECONDS
        code=0
        .venv/bin/python "$what.py" "$@" &
        node=$!
        trap 'kill -TERM "$node" 2>/dev/null' INT TERM
        # A trapped signal ends `wait`, not the node: wait on until it is gone.
        while true; do
            code=0
            wait "$node" || code=$?
            kill -0 "$node" 2>/dev/null || break
        done
        trap - INT TERM
        if [ "$code" -eq 0 ]; then return 0; fi
        [ $((SECONDS - began)) -ge "$START_SECONDS" ] && was_up=yes
        if [ -z "$was_up" ] && [ "$code" -eq 1 ]; then return 1; fi
        [ $((SECONDS - began)) -gt 600 ] && pause=1
        echo "the $what ended with code $code; starting it again in $pause s (Ctrl-C ends this)" >&2
        sleep "$pause"
        pause=$((pause < 60 ? pause * 2 : 60))
    done
}

# install_service miner|validator OPTIONS: under systemd as this user, or else under pm2.
install_service() {
    local what=$1 name=boltzmann-$1 folder=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    shift
    if command -v systemctl >/dev/null 2>&1 && systemctl --user show-environment >/dev/null 2>&1; then
        mkdir -p "$folder"
        service_unit "$what" "$@" >"$folder/$name.service"
        systemctl --user daemon-reload
        systemctl --user enable --now "$name.service"
        echo "running as $name.service: journalctl --user -u $name -f shows it, systemctl --user stop $name ends it"
        echo "to run while nobody is logged in: loginctl enable-linger $USER"
    elif command -v pm2 >/dev/null 2>&1; then
        pm2 start .venv/bin/python --name "$name" --interpreter none --exp-backoff-restart-delay 1000 -- "$what.py" "$@"
        pm2 save
    else
        echo "neither systemd for users nor pm2 is here: leave --service out, and the node runs in this terminal" >&2
        return 1
    fi
}

# service_unit miner|validator OPTIONS: the unit's text. Options are quoted as systemd reads them.
service_unit() {
    local what=$1 option line
    shift
    line="\"$PWD/.venv/bin/python\" \"$PWD/$what.py\""
    for option in "$@"; do
        option=${option//\\/\\\\}
        option=${option//\"/\\\"}
        option=${option//%/%%}
        line="$line \"${option//\$/\$\$}\""
    done
    cat <<UNIT
[Unit]
Description=Boltzmann $what
After=network-online.target
StartLimitIntervalSec=0

[Service]
WorkingDirectory=$PWD
ExecStart=$line
Restart=on-failure
RestartSec=30
KillSignal=SIGINT
TimeoutStopSec=120

[Install]
WantedBy=default.target
UNIT
}
