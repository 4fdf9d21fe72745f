package app

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-proxy/understudy/internal/jks"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

// caVariables name a file of PEM roots to one runtime or another. Each is given
// the union of the system's roots, what the variable named before, and our CA.
var caVariables = []string{
	"SSL_CERT_FILE",                      // OpenSSL, Go, Ruby, rustls-native-certs
	"CURL_CA_BUNDLE",                     // curl
	"REQUESTS_CA_BUNDLE",                 // Python requests
	"PIP_CERT",                           // pip
	"HTTPLIB2_CA_CERTS",                  // httplib2
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
	"AWS_CA_BUNDLE",                      // AWS CLI, boto3
	"GIT_SSL_CAINFO",                     // git
	"CARGO_HTTP_CAINFO",                  // cargo
	"DENO_CERT",                          // Deno
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC C-core languages
	"PERL_LWP_SSL_CA_FILE",               // Perl
	"NIX_SSL_CERT_FILE",                  // Nix
	"BUNDLE_SSL_CA_CERT",                 // Bundler
	"npm_config_cafile",                  // npm
	"COMPOSER_CAFILE",                    // Composer
	"HEX_CACERTS_PATH",                   // Hex
	"NODE_EXTRA_CA_CERTS",                // Node, Bun
}

// storePassword protects nothing: a trust store's content is public, but Java
// wants a password to check it.
const storePassword = "changeit"

// environ returns the variables that make a command use the forward proxy at
// addr, "" for none, and trust authority. Files that they name are made in dir. getenv reads
// the present environment, whose values are kept in the unions.
//
// No variable is left that keeps localhost out of the proxy, but some runtimes
// (Go's net/http among them) never proxy localhost whatever they are told.
func environ(dir, addr string, authority *ca.Authority, getenv func(string) string) ([]string, error) {
	var env []string
	if addr != "" {
		url := "http://" + addr
		env = []string{
			"HTTP_PROXY=" + url, "http_proxy=" + url, "HTTPS_PROXY=" + url, "https_proxy=" + url,
			"NO_PROXY=", "no_proxy=",
			"NODE_USE_ENV_PROXY=1", // Node 24 and later; older ones have no such switch
		}
	}
	bundles := map[string]string{} // what a variable named before → the file with the union
	for _, name := range caVariables {
		before := getenv(name)
		file, ok := bundles[before]
		if !ok {
			file = filepath.Join(dir, fmt.Sprintf("roots-%d.pem", len(bundles)))
			if err := writeBundle(file, before, authority); err != nil {
				return nil, fmt.Errorf("roots for %s: %w", name, err)
			}
			bundles[before] = file
		}
		env = append(env, name+"="+file)
	}
	java, err := javaOptions(dir, addr, bundles[getenv("SSL_CERT_FILE")])
	if err != nil {
		return nil, err
	}
	return append(env, "JAVA_TOOL_OPTIONS="+strings.TrimSpace(getenv("JAVA_TOOL_OPTIONS")+" "+java)), nil
}

// writeBundle writes the union of the system's roots, those of file before ("" for none), and ours.
func writeBundle(file, before string, authority *ca.Authority) error {
	var more []string
	if before != "" {
		if _, err := os.Stat(before); err == nil { // a variable that names nothing is left behind
			more = append(more, before)
		}
	}
	var b bytes.Buffer
	if _, err := authority.Bundle(&b, more...); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// javaOptions are the system properties for the JVM: it reads no proxy
// variables, and trusts a store of its own.
func javaOptions(dir, addr, bundle string) (string, error) {
	proxy := ""
	if addr != "" {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return "", err
		}
		proxy = fmt.Sprintf("-Dhttp.proxyHost=%[1]s -Dhttp.proxyPort=%[2]s -Dhttps.proxyHost=%[1]s -Dhttps.proxyPort=%[2]s -Dhttp.nonProxyHosts= ", host, port)
	}
	data, err := os.ReadFile(bundle)
	if err != nil {
		return "", err
	}
	store, err := jks.Encode(certificates(data), storePassword)
	if err != nil {
		return "", fmt.Errorf("trust store for Java: %w", err)
	}
	file := filepath.Join(dir, "roots.jks")
	if err := os.WriteFile(file, store, 0o600); err != nil {
		return "", err
	}
	return proxy + fmt.Sprintf("-Djavax.net.ssl.trustStore=%s -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=%s", file, storePassword), nil
}
