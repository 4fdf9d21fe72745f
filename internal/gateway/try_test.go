package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

func TestTry(t *testing.T) {
	argv := []string{"sh", "-c", os.Getenv("TRY")}
	begin := time.Now()
	g, err := gateway.Start(context.Background(), gateway.Options{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("started", time.Since(begin), "asks", g.Asks())
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
					name, _ := g.Name(at.Addr())
					line, _ := bufio.NewReader(conn).ReadString('\n')
					text := fmt.Sprintf("%s to %s %q asked %q\n", conn.RemoteAddr(), at, name, line)
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
				}()
			}
		}()
	}
	fmt.Println(g.Wait())
	fmt.Println(g.RefusedUDP())
	begin = time.Now()
	g.Close()
	fmt.Println("closed", time.Since(begin))
}
