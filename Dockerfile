# The image of Weir: control plane, sidecar, and the init container that captures a pod's traffic. docs/install.md has more about it.
#   docker build -t registry.example/weir:0.1.0 .
FROM rust:1.95-slim-trixie AS build
# What compiles the cryptography, the allocator and Lua.
RUN apt-get update && apt-get install -y --no-install-recommends g++ make cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /weir
COPY . .
RUN cargo build --locked --profile dist --package weir --features kubernetes

# The same Debian, for its C library. `weir capture` sets its rules by nft; the API servers of clusters bring their own roots, those of other
# servers (for tokens' keys) are the system's.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /weir/target/dist/weir /usr/local/bin/weir
# As the pods of the control plane and sidecars run; only the init container is root, with what it needs for capture.
USER 1337:1337
ENTRYPOINT ["weir"]
