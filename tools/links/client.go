package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	host        = "link.test" // is in no DNS but understudy's
	connections = 6           // of a page, as browsers open
	pageObjects = 60
	pageSeconds = 3 // of a slow link's rate a page is cut to
)

// client is what is captured: RATE ARG…, the last for iperf3. It measures one thing after
// the other and prints what it found as JSON.
func client(args []string) (err error) {
	rate, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var f found
	// A name is looked up once: a question that a link loses is asked again after 5 s,
	// which would be all that is seen.
	to, err := net.ResolveTCPAddr("tcp4", host+":80")
	if err != nil {
		return err
	}
	if f.Connect, err = connects(to); err != nil {
		return err
	}
	if err = f.page(to, rate); err != nil {
		return err
	}
	if f.Down, err = iperf(args[1:], "--reverse"); err != nil {
		return err
	}
	// Reno is in every kernel, and allowed; it is what Mathis wrote about.
	if f.Up, err = iperf(args[1:], "--congestion", "reno"); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// connects is the median that a connection takes.
func connects(to *net.TCPAddr) (time.Duration, error) {
	var took []time.Duration
	for range 5 {
		begin := time.Now()
		conn, err := net.DialTCP("tcp4", nil, to)
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
		_ = conn.Close()
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// page fetches objects of 10 to 50 KB over some connections, each the next that is left.
// On a slow link there are fewer objects.
func (f *found) page(to *net.TCPAddr, rate int) error {
	var sizes []int
	for i := range pageObjects {
		size := 10_000 + i*7919%40_000
		if rate > 0 && len(sizes) >= connections && len(sizes)%connections == 0 && f.Bytes > rate/8*pageSeconds {
			break
		}
		sizes = append(sizes, size)
		f.Bytes += size
	}
	f.Objects = len(sizes)
	next := make(chan int, len(sizes))
	for _, size := range sizes {
		next <- size
	}
	close(next)
	failed := make(chan error, connections)
	var all sync.WaitGroup
	begin := time.Now()
	for range connections {
		all.Go(func() {
			t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp4", to.String())
			}}
			defer t.CloseIdleConnections()
			for size := range next {
				if err := fetch(&http.Client{Transport: t}, size); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	f.Page = time.Since(begin)
	close(failed)
	return <-failed
}

func fetch(c *http.Client, size int) error {
	resp, err := c.Get(fmt.Sprintf("http://%s/%d", host, size))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(size) {
		return fmt.Errorf("an object of %d bytes came with %d: %w", size, n, err)
	}
	return nil
}

// iperf runs iperf3 and returns what its receiver got, in bits per second.
func iperf(args []string, direction ...string) (float64, error) {
	cmd := exec.Command("iperf3", slices.Concat([]string{"-c", host, "-p", "5201", "-J"}, args, direction)...)
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.Output()
	var r struct {
		Error string
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("iperf3: %w: %s%s", err, out, talk.Bytes())
	}
	if err != nil || r.Error != "" {
		return 0, fmt.Errorf("iperf3: %s (%v)", r.Error, err)
	}
	return r.End.Received.BitsPerSecond, nil
}
