package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/elazarl/goproxy"
)

// serve is the program of the peers that are libraries. spec is
// "reverse=ADDR", "reverse-tls=ADDR=CERTFILE" or "forward=ADDR".
func serve(spec, to string) error {
	kind, rest, _ := strings.Cut(spec, "=")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// The default of two idle connections a host would measure dialling.
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1024
	transport.DisableCompression = true
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	switch kind {
	case "reverse", "reverse-tls":
		target, err := url.Parse(to)
		if err != nil {
			return err
		}
		proxy := &httputil.ReverseProxy{
			Transport: transport,
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		}
		if kind == "reverse" {
			return http.ListenAndServe(rest, proxy)
		}
		addr, cert, _ := strings.Cut(rest, "=")
		server := &http.Server{Addr: addr, Handler: proxy}
		// HTTP/2 is nobody's in this comparison.
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		return server.ListenAndServeTLS(cert, cert)
	case "forward":
		proxy := goproxy.NewProxyHttpServer()
		proxy.Tr = transport
		proxy.Logger = log.Default()
		return http.ListenAndServe(rest, proxy)
	}
	return fmt.Errorf("serve %q: want reverse, reverse-tls or forward", kind)
}
