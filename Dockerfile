# Two images: `docker build --target cpu .` and `docker build --target gpu .` (docs/releasing.md).
# Nobody has built them yet; a test runs docker/install.sh as the RUN lines do.
#
# A release names its base by digest (.github/workflows/release.yaml); a tag is for builds at home. Both targets take
# CUDA, where they have it, from the wheels of their lock, so that there is one of it.
ARG CPU_BASE=python:3.11-slim-trixie
ARG GPU_BASE=python:3.11-slim-trixie

FROM ${CPU_BASE} AS wheel
WORKDIR /src
COPY docker docker
COPY .gitignore pyproject.toml README.md LICENSE ./
COPY hydra_ray hydra_ray
COPY deployments deployments
COPY tune_configs tune_configs
RUN docker/install.sh wheel /dist

# Apart from the wheel: a new version of hydra-ray leaves this layer, the large one, as it is.
FROM ${CPU_BASE} AS locked-cpu
COPY docker/install.sh docker/build.lock docker/cpu.lock /docker/
RUN /docker/install.sh locked cpu /opt/hydra-ray

FROM ${GPU_BASE} AS locked-gpu
COPY docker/install.sh docker/build.lock docker/gpu.lock /docker/
RUN /docker/install.sh locked gpu /opt/hydra-ray

FROM ${CPU_BASE} AS cpu
RUN --mount=type=bind,source=docker,target=/docker /docker/install.sh system cpu
COPY --from=locked-cpu /opt/hydra-ray /opt/hydra-ray
COPY docker/healthy.py /opt/healthy.py
RUN --mount=type=bind,source=docker,target=/docker --mount=type=bind,from=wheel,source=/dist,target=/dist \
    /docker/install.sh package /dist /opt/hydra-ray
# ray, serve and hydra-ray are found by KubeRay's commands, too. Threads that wait by spinning would take whole cores.
ENV PATH=/opt/hydra-ray/bin:$PATH OMP_WAIT_POLICY=PASSIVE RAY_USAGE_STATS_ENABLED=0
USER 1000:100
WORKDIR /home/hydra
RUN --network=none --mount=type=bind,source=docker,target=/docker /docker/install.sh check cpu /opt/hydra-ray
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=5m CMD ["/opt/hydra-ray/bin/python", "-S", "/opt/healthy.py"]
ENTRYPOINT ["tini", "--", "hydra-ray"]
CMD ["--help"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown BASE=unknown
LABEL org.opencontainers.image.title="hydra-ray" \
    org.opencontainers.image.description="Personalises any black-box LLM for every single user, on Ray (CPUs)." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.base.name="${BASE}"

FROM ${GPU_BASE} AS gpu
RUN --mount=type=bind,source=docker,target=/docker /docker/install.sh system gpu
COPY --from=locked-gpu /opt/hydra-ray /opt/hydra-ray
COPY docker/healthy.py /opt/healthy.py
RUN --mount=type=bind,source=docker,target=/docker --mount=type=bind,from=wheel,source=/dist,target=/dist \
    /docker/install.sh package /dist /opt/hydra-ray
# The container toolkit reads the NVIDIA ones, and brings the driver's libraries.
ENV PATH=/opt/hydra-ray/bin:$PATH OMP_WAIT_POLICY=PASSIVE RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:100
WORKDIR /home/hydra
RUN --network=none --mount=type=bind,source=docker,target=/docker /docker/install.sh check gpu /opt/hydra-ray
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=15m CMD ["/opt/hydra-ray/bin/python", "-S", "/opt/healthy.py"]
ENTRYPOINT ["tini", "--", "hydra-ray"]
CMD ["--help"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown BASE=unknown
LABEL org.opencontainers.image.title="hydra-ray" \
    org.opencontainers.image.description="Personalises any black-box LLM for every single user, on Ray (NVIDIA GPUs)." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.base.name="${BASE}"
