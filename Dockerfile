# The image that `make image` makes without a container engine: one static program, no shell, nobody's user.
#   docker build -t rolecall --build-arg REVISION="$(git rev-parse HEAD)" .
FROM rust:1.95-bookworm AS build
RUN apt-get update -qq && apt-get install -y -qq musl-tools \
 && rustup target add "$(uname -m)-unknown-linux-musl" \
 && cargo install --locked --quiet cargo-auditable
WORKDIR /src
COPY . .
RUN cargo auditable build --release --locked --target "$(uname -m)-unknown-linux-musl" --bin rolecall \
 && cp "target/$(uname -m)-unknown-linux-musl/release/rolecall" /rolecall

FROM scratch
ARG REVISION=
LABEL org.opencontainers.image.title="rolecall" \
      org.opencontainers.image.description="Makes Kubernetes access follow the company directory: SCIM push to RoleBindings, within milliseconds and with proof" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /rolecall /rolecall
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/rolecall"]
