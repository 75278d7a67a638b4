# syntax=docker/dockerfile:1
# The images of docker-compose.yml: `campanile` runs any of our processes, `n8n` is n8n with our node and workflows.

FROM python:3.13.14-slim-trixie@sha256:6771159cd4fa5d9bba1258caf0b82e6b73458c694d178ad97c5e925c2d0e1a91 AS python
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# Each package is checked against its hash, also the one that builds those that come as source.
FROM python AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /app
COPY requirements.lock requirements.run.lock ./
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > /tmp/build.lock \
    && pip install --require-hashes --requirement /tmp/build.lock \
    && pip install --require-hashes --no-build-isolation --requirement requirements.run.lock
COPY . .
RUN rm -r n8n && pip install --no-deps --no-build-isolation --editable . \
    && pip uninstall --yes setuptools pip \
    && python -m compileall -q .

FROM python AS campanile
RUN groupadd --system --gid 10001 campanile \
    && useradd --system --uid 10001 --gid campanile --no-create-home --home-dir /nonexistent campanile \
    && install --directory --owner=campanile --group=campanile --mode=0700 /state
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
WORKDIR /app
USER campanile
# Uploads wait in files: /tmp is memory under docker-compose.yml.
ENV ENVIRONMENT=production STATE_DIR=/state TMPDIR=/state HOST=0.0.0.0
VOLUME /state
EXPOSE 8000 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["campanile"]
CMD ["api"]

FROM node:24.19.0-trixie-slim@sha256:0711b541c1c33a8a530ac4f0d391baa9a15b3d804695b1b24a47daa5fb60e74d AS node
WORKDIR /package
COPY n8n/n8n-nodes-campanile/package.json n8n/n8n-nodes-campanile/package-lock.json ./
RUN npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund
COPY n8n/n8n-nodes-campanile ./
RUN npm run build && rm -r node_modules

FROM n8nio/n8n:2.30.8 AS n8n
COPY --from=node /package /opt/campanile/n8n-nodes-campanile
COPY n8n/*.json /opt/campanile/workflows/
ENV N8N_CUSTOM_EXTENSIONS=/opt/campanile/n8n-nodes-campanile
