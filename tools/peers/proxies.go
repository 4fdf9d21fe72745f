package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
)

const (
	smallPath = "/small"
	largePath = "/large.bin"
)

// nginx starts an nginx with the given server blocks.
func (b *bench) nginx(name, http string) (*process, error) {
	conf, err := b.write("nginx.conf", fmt.Sprintf(`
daemon off;
worker_processes auto;
pid %[1]s/%[2]s.pid;
events { worker_connections 8192; }
http {
  access_log off;
  default_type application/json;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/%[2]s.tmp;
  proxy_temp_path %[1]s/%[2]s.tmp;
  fastcgi_temp_path %[1]s/%[2]s.tmp;
  uwsgi_temp_path %[1]s/%[2]s.tmp;
  scgi_temp_path %[1]s/%[2]s.tmp;
%[3]s
}
`, b.dir, strings.Map(plain, name), http))
	if err != nil {
		return nil, err
	}
	return b.start(name, "nginx", "-e", "stderr", "-p", b.dir, "-c", conf)
}

// startUpstream starts what all proxies stand in front of: an nginx that
// answers 1 KiB from memory and 1 MiB from a file, in clear and over TLS.
func (b *bench) startUpstream(ctx context.Context) error {
	plain, err := freePort()
	if err != nil {
		return err
	}
	secure, err := freePort()
	if err != nil {
		return err
	}
	b.plainURL, b.tlsURL = "http://"+plain, "https://"+secure
	p, err := b.nginx("upstream", fmt.Sprintf(`
  server {
    listen %s; listen %s ssl;
    ssl_certificate %s; ssl_certificate_key %[3]s;
    root %s;
    location = %s { return 200 '%s'; }
  }`, plain, secure, b.path("cert.pem"), b.path("www"), smallPath, smallBody()))
	if err != nil {
		return err
	}
	return b.ready(ctx, server{url: b.plainURL + smallPath, process: p}, smallSize)
}

// upstream is the upstream's address for a scheme.
func (b *bench) upstream(secure bool) string {
	if secure {
		return strings.TrimPrefix(b.tlsURL, "https://")
	}
	return strings.TrimPrefix(b.plainURL, "http://")
}

func scheme(secure bool) string {
	if secure {
		return "https://"
	}
	return "http://"
}

type starter = func(context.Context, *bench) (server, error)

func direct(secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		return server{url: scheme(secure) + b.upstream(secure) + path}, nil
	}
}

func haproxy(mode string, secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		front, back := "", ""
		if secure {
			front, back = " ssl crt "+b.path("cert.pem"), " ssl verify none"
		}
		reuse := ""
		if mode == "http" {
			reuse = "http-reuse always"
		}
		conf, err := b.write("haproxy.cfg", fmt.Sprintf(`
global
  maxconn 8192
defaults
  mode %s
  %s
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind %s%s
  default_backend out
backend out
  server upstream %s%s
`, mode, reuse, addr, front, b.upstream(secure), back))
		if err != nil {
			return server{}, err
		}
		p, err := b.start("haproxy", "haproxy", "-db", "-q", "-f", conf)
		return server{url: scheme(secure) + addr + path, process: p}, err
	}
}

func nginxProxy(secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		listen := addr
		if secure {
			listen += fmt.Sprintf(" ssl; ssl_certificate %s; ssl_certificate_key %[1]s; proxy_ssl_session_reuse on", b.path("cert.pem"))
		}
		p, err := b.nginx("nginx-proxy", fmt.Sprintf(`
  upstream out { server %s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %s;
    location / {
      proxy_pass %sout;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
    }
  }`, b.upstream(secure), listen, scheme(secure)))
		return server{url: scheme(secure) + addr + path, process: p}, err
	}
}

func stdReverse(secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		spec := "reverse=" + addr
		if secure {
			spec = "reverse-tls=" + addr + "=" + b.path("cert.pem")
		}
		p, err := b.start("net-http", b.self, "serve", spec, scheme(secure)+b.upstream(secure))
		return server{url: scheme(secure) + addr + path, process: p}, err
	}
}

func goproxyForward(path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		p, err := b.start("goproxy", b.self, "serve", "forward="+addr, "-")
		return b.forwardServer(addr, path, p, err)
	}
}

// forwardServer is a forward proxy on addr, asked for the upstream's path.
func (b *bench) forwardServer(addr, path string, p *process, err error) (server, error) {
	if err != nil {
		return server{}, err
	}
	script, err := b.absoluteScript("absolute-"+strings.Map(plain, addr), b.plainURL+path)
	return server{url: "http://" + addr, probe: b.plainURL + path, forward: addr, script: script, process: p}, err
}

func mitmproxy(secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		host, port, _ := strings.Cut(addr, ":")
		p, err := b.start("mitmproxy", "mitmdump", "-q", "--mode", "reverse:"+scheme(secure)+b.upstream(secure),
			"--listen-host", host, "-p", port, "--ssl-insecure", "--set", "confdir="+b.path("mitmproxy"))
		return server{url: scheme(secure) + addr + path, process: p}, err
	}
}

// toxiproxy starts a Toxiproxy, with a latency toxic where delayed says so.
func toxiproxy(path string, delayed bool) starter {
	return func(ctx context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		api, err := freePort()
		if err != nil {
			return server{}, err
		}
		conf, err := json.Marshal([]map[string]any{{"name": "p", "listen": addr, "upstream": b.upstream(false), "enabled": true}})
		if err != nil {
			return server{}, err
		}
		file, err := b.write("toxiproxy.json", string(conf))
		if err != nil {
			return server{}, err
		}
		host, port, _ := strings.Cut(api, ":")
		p, err := b.start("toxiproxy", filepath.Join(b.cache, "toxiproxy"), "-host", host, "-port", port, "-config", file)
		if err != nil {
			return server{}, err
		}
		s := server{url: "http://" + addr + path, process: p}
		if !delayed {
			return s, nil
		}
		if err := b.ready(ctx, s, smallSize); err != nil {
			b.stop(p)
			return server{}, err
		}
		toxic := fmt.Sprintf(`{"type":"latency","stream":"downstream","attributes":{"latency":%d,"jitter":0}}`, askDelay.Milliseconds())
		resp, err := http.Post("http://"+api+"/proxies/p/toxics", "application/json", strings.NewReader(toxic))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("add a toxic: %s", resp.Status)
			}
		}
		if err != nil {
			b.stop(p)
		}
		return s, err
	}
}
