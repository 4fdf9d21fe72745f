# syntax=docker/dockerfile:1

# The build: a static binary, nothing but the Go toolchain needed.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath \
      -ldflags "-s -w -X github.com/understudy-proxy/understudy/internal/app.Version=${VERSION}" \
      -o /out/understudy ./cmd/understudy \
 && mkdir -p /out/home/.config /out/cassettes /out/tmp && chmod 1777 /out/tmp

# The image: the binary, the roots that verify upstreams, and no shell.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/understudy /usr/bin/understudy
COPY --from=build --chown=65532:65532 /out/home /home/understudy
COPY --from=build --chown=65532:65532 /out/cassettes /cassettes
COPY --from=build --chown=65532:65532 /out/tmp /tmp
ENV HOME=/home/understudy
USER 65532:65532
WORKDIR /cassettes
ENTRYPOINT ["/usr/bin/understudy"]
CMD ["--help"]
