package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

// roundTrip is a program that connects a few times, one after the other, and holds the
// median that it took against what the link adds: roundtrip -least 100ms HOST:PORT. With
// -most it is the least that it took that has to stay below. With -get PATH it is requests on
// one connection that are timed.
func roundTrip() {
	least := flag.Duration("least", 0, "")
	most := flag.Duration("most", time.Hour, "")
	get := flag.String("get", "", "")
	flag.Parse()
	var took []time.Duration
	for range 9 {
		if *get != "" {
			took = append(took, getOnce("http://"+flag.Arg(0)+*get))
			continue
		}
		// The name is looked up before: its way is not measured.
		to, err := net.ResolveTCPAddr("tcp4", flag.Arg(0))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		start := time.Now()
		conn, err := net.DialTCP("tcp4", nil, to)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		took = append(took, time.Since(start))
		conn.Close()
	}
	slices.Sort(took)
	median := took[len(took)/2]
	fmt.Printf("median %v of %v\n", median, took)
	if took[0] > *most {
		fmt.Fprintf(os.Stderr, "a connection took %v, want at most %v\n", took[0], *most)
		os.Exit(1)
	}
	if median < *least {
		fmt.Fprintf(os.Stderr, "a connection took %v, want at least %v\n", median, *least)
		os.Exit(1)
	}
}

// getOnce is what an answer took, on a connection that is kept alive.
func getOnce(url string) time.Duration {
	start := time.Now()
	resp, err := http.Get(url)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return time.Since(start)
}
