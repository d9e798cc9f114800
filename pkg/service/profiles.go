package service

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
)

// newProfiles returns the listener of Go's own profiles, under /debug/pprof/.
// It is apart from the other one, so that what is published there never
// includes it.
func newProfiles(addr string) *HTTP {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // it serves the named ones too
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if port, ok := strings.CutPrefix(addr, "localhost:"); ok {
		addr = "127.0.0.1:" + port // whatever a resolver makes of the name
	}
	return newHTTP("pprof", "SLUICE_PPROF_ADDR", addr, mux)
}

// validateLoopback allows an address on this machine only: a profile shows
// what a process holds in memory.
func validateLoopback(addr string) error {
	if err := validateAddr(addr); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(addr) // validated above
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q: want an address of the loopback interface, such as 127.0.0.1:6060", addr)
	}
	return nil
}
