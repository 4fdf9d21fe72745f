package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const stubPath = "/stub/0"

// stubServer is a stub server on addr, asked for one stub or for many.
func (b *bench) stubServer(addr string, n int, p *process, err error) (server, error) {
	if err != nil {
		return server{}, err
	}
	s := server{url: "http://" + addr + stubPath, process: p}
	if n > 1 {
		s.script, err = b.manyScript(n)
	}
	return s, err
}

// nginxStub answers any path with the small body: from the configuration, or
// from a file.
func nginxStub(static bool, n int) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		answer := "return 200 '" + smallBody() + "';"
		if static {
			answer = "root " + b.path("www") + "; rewrite ^ /small.json break;"
		}
		p, err := b.nginx("nginx-stub", fmt.Sprintf("server { listen %s; location / { %s } }", addr, answer))
		return b.stubServer(addr, n, p, err)
	}
}

func wiremock(n int, delay time.Duration) starter {
	return func(_ context.Context, b *bench) (server, error) {
		jar, err := b.wiremockJar()
		if err != nil {
			return server{}, err
		}
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		mappings := make([]map[string]any, n)
		for i := range mappings {
			response := map[string]any{"status": 200, "body": smallBody(), "headers": map[string]string{"Content-Type": "application/json"}}
			if delay > 0 {
				response["fixedDelayMilliseconds"] = delay.Milliseconds()
			}
			mappings[i] = map[string]any{
				"request":  map[string]string{"method": "GET", "url": fmt.Sprintf("/stub/%d", i)},
				"response": response,
			}
		}
		data, err := json.Marshal(map[string]any{"mappings": mappings})
		if err != nil {
			return server{}, err
		}
		b.serial++
		root := b.path(fmt.Sprintf("wiremock-%d", b.serial))
		if err := os.MkdirAll(root+"/mappings", 0o755); err != nil {
			return server{}, err
		}
		if err := os.WriteFile(root+"/mappings/all.json", data, 0o644); err != nil {
			return server{}, err
		}
		host, port, _ := strings.Cut(addr, ":")
		p, err := b.start("wiremock", "java", "-jar", jar, "--bind-address", host, "--port", port, "--root-dir", root,
			"--no-request-journal", "--disable-banner", "--disable-gzip")
		return b.stubServer(addr, n, p, err)
	}
}

func (b *bench) wiremockJar() (string, error) {
	jars, _ := filepath.Glob(filepath.Join(b.cache, "node_modules/wiremock/build/wiremock-standalone-*.jar"))
	if len(jars) == 0 {
		return "", os.ErrNotExist
	}
	return jars[0], nil
}

func mountebank(delay time.Duration) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		api, err := freePort()
		if err != nil {
			return server{}, err
		}
		response := map[string]any{"is": map[string]any{
			"statusCode": 200, "body": smallBody(),
			// Without this it closes the connection after each answer.
			"headers": map[string]string{"Content-Type": "application/json", "Connection": "keep-alive"},
		}}
		if delay > 0 {
			response["behaviors"] = []map[string]any{{"wait": delay.Milliseconds()}}
		}
		var port int
		if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
			return server{}, err
		}
		data, err := json.Marshal(map[string]any{"imposters": []map[string]any{{
			"port": port, "protocol": "http", "host": "127.0.0.1",
			"stubs": []map[string]any{{
				"predicates": []map[string]any{{"equals": map[string]string{"method": "GET", "path": stubPath}}},
				"responses":  []map[string]any{response},
			}},
		}}})
		if err != nil {
			return server{}, err
		}
		conf, err := b.write("imposters.json", string(data))
		if err != nil {
			return server{}, err
		}
		host, apiPort, _ := strings.Cut(api, ":")
		p, err := b.start("mountebank", "node", filepath.Join(b.cache, "node_modules/mountebank/bin/mb"),
			"--host", host, "--port", apiPort, "--configfile", conf, "--nologfile", "--loglevel", "error",
			"--pidfile", conf+".pid", "--localOnly")
		return b.stubServer(addr, 1, p, err)
	}
}
