//go:build linux

package gateway_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// roles are what the test binary can be besides itself: programs that run
// captured, and a host process that captures.
var roles = map[string]func(args []string) int{
	"get":    getMain,
	"dns":    dnsMain,
	"udp":    udpMain,
	"dial":   dialMain,
	"own":    ownMain,
	"serve":  serveMain,
	"tty":    ttyMain,
	"host":   hostMain,
	"nested": nestedMain,
}

// as returns the command line and environment that make this binary play a role.
func as(name string, args ...string) (argv, env []string) {
	return append([]string{self(), name}, args...), append(without(os.Environ(), role), role+"="+name, "GODEBUG=netdns=go")
}

// self is a path by which the binary can be executed whatever directory it is in:
// the shim that executes it is the same binary.
func self() string { return "/proc/self/exe" }

func say(err error) int {
	fmt.Println(err)
	return 1
}

// getMain is a program built with Go that knows nothing of a proxy.
func getMain(args []string) int {
	for _, url := range args[1:] {
		resp, err := http.Get(url)
		if err != nil {
			return say(err)
		}
		_, _ = io.Copy(os.Stdout, resp.Body)
		resp.Body.Close()
	}
	return 0
}

// dnsMain asks one resolver for one name: NETWORK SERVER NAME TYPE.
func dnsMain(args []string) int {
	network, server, name := args[1], args[2], dnsmessage.MustNewName(args[3]+".")
	kind := map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "PTR": dnsmessage.TypePTR}[args[4]]
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	out, err := question.Pack()
	if err != nil {
		return say(err)
	}
	conn, err := net.DialTimeout(network, net.JoinHostPort(server, "53"), 5*time.Second)
	if err != nil {
		return say(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "tcp" {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
	}
	if _, err := conn.Write(out); err != nil {
		return say(err)
	}
	in := make([]byte, 2048)
	n, err := conn.Read(in)
	if err != nil {
		return say(err)
	}
	in = in[:n]
	if network == "tcp" {
		in = in[2:]
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(in); err != nil {
		return say(err)
	}
	fmt.Print(strings.TrimPrefix(answer.RCode.String(), "RCode"))
	for _, a := range answer.Answers {
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			fmt.Print(" ", netip.AddrFrom4(body.A))
		case *dnsmessage.PTRResource:
			fmt.Print(" ", body.PTR)
		}
	}
	return 0
}

// udpMain sends a datagram to each address and says what came of it.
func udpMain(args []string) int {
	for _, to := range args[1:] {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return say(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write([]byte("anybody there?"))
		_, err = conn.Read(make([]byte, 16))
		conn.Close()
		fmt.Println(to, errors.Is(err, syscall.ECONNREFUSED))
	}
	return 0
}

// dialMain connects to each address and says what came of it.
func dialMain(args []string) int {
	for _, to := range args[1:] {
		conn, err := net.DialTimeout("tcp", to, 10*time.Second)
		if err == nil {
			conn.Close()
		}
		switch {
		case err == nil:
			fmt.Println(to, "connected")
		case errors.Is(err, syscall.ECONNREFUSED):
			fmt.Println(to, "refused")
		default:
			fmt.Println(to, err)
		}
	}
	return 0
}

// ownMain listens on a port and asks itself there, by each address, many times:
// the sockets in TIME_WAIT must not lead elsewhere either.
func ownMain(args []string) int {
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		return say(err)
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "own")
		}))
	}()
	for range 50 {
		for _, to := range args[2:] {
			resp, err := http.Get("http://" + to + "/")
			if err != nil {
				return say(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "own" {
				fmt.Printf("%s answered %q\n", to, body)
				return 1
			}
		}
	}
	fmt.Println("own")
	return 0
}

// serveMain answers one request on a port of the loopback, then ends.
func serveMain(args []string) int {
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		return say(err)
	}
	fmt.Println("listening")
	conn, err := l.Accept()
	if err != nil {
		return say(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		return say(err)
	}
	fmt.Fprintf(conn, "heard %s", text)
	return 0
}

// ttyMain says whether it is in the foreground of its terminal.
func ttyMain([]string) int {
	foreground, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil {
		return say(err)
	}
	fmt.Println("foreground", foreground == unix.Getpgrp())
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	fmt.Println("ready")
	<-interrupted
	fmt.Println("interrupted")
	return 5
}

// next is the role of the command that a host process captures, if it is this
// binary again.
const next = "GATEWAY_TEST_NEXT"

// hostMain captures a command and ends with its exit code. SIGINT is left to the
// command, as understudy does.
func hostMain(args []string) int {
	env := without(os.Environ(), role)
	if n, ok := os.LookupEnv(next); ok {
		env = append(without(env, next), role+"="+n)
	}
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	g, err := gateway.Start(context.Background(), gateway.Options{Argv: args[1:], Env: env})
	if err != nil {
		return say(err)
	}
	defer g.Close()
	code, _ := g.Wait()
	return code
}

func without(env []string, name string) (out []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}

// nestedMain captures a program and carries its traffic on, being captured itself.
func nestedMain(args []string) int {
	argv, env := as("get", args[1:]...)
	g, err := gateway.Start(context.Background(), gateway.Options{Argv: argv, Env: env})
	if err != nil {
		return say(err)
	}
	defer g.Close()
	for _, l := range g.Listeners() {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					at := conn.LocalAddr().(*net.TCPAddr).AddrPort()
					host, ok := g.Name(at.Addr())
					if !ok {
						host = at.Addr().String()
					}
					out, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(at.Port())))
					if err != nil {
						return
					}
					defer out.Close()
					go func() { _, _ = io.Copy(out, conn) }()
					_, _ = io.Copy(conn, out)
				}()
			}
		}()
	}
	code, err := g.Wait()
	if err != nil {
		return say(err)
	}
	return code
}
