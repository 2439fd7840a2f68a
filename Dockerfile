# One image for miner and validator: docker compose up miner
FROM python:3.12-slim-bookworm

RUN useradd --create-home --uid 1000 node \
    && mkdir /data \
    && chown node /data
WORKDIR /opt/boltzmann
# First what changes seldom, so that a change of the code installs nothing.
COPY requirements.txt requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements.lock \
    && pip install --no-cache-dir --requirement requirements.txt
COPY miner.py validator.py ./
COPY boltzmann/ boltzmann/

USER 1000
ENV WORKDIR=/data \
    BT_WALLET_PATH=/wallets \
    XDG_CACHE_HOME=/data/cache \
    PYTHONUNBUFFERED=1
VOLUME /data
STOPSIGNAL SIGINT
ENTRYPOINT ["python"]
CMD ["miner.py"]
