package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// errNotAllowed is why an address is not dialled. It does not tell the address:
// what names stand for inside is nobody's business outside.
var errNotAllowed = errors.New("the host has an address that is not public and may not be called; the operator can name it in SLUICE_HTTP_ALLOW")

// allowed is what may be called although it is not public.
type allowed struct {
	v4, v6 []netip.Prefix
	hosts  map[string]bool // host:port, as a URL names it
}

// parseAllowed reads address ranges (10.0.0.0/8) and hosts with their port
// (hooks.internal:8080).
func parseAllowed(list []string) (allowed, error) {
	a := allowed{hosts: map[string]bool{}}
	var errs []error
	for _, entry := range list {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if p, err := netip.ParsePrefix(entry); err == nil {
			if p.Addr().Is4() {
				a.v4 = append(a.v4, p)
			} else {
				a.v6 = append(a.v6, p)
			}
			continue
		}
		host, port, err := net.SplitHostPort(entry)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			errs = append(errs, fmt.Errorf("%q: want a range such as 10.0.0.0/8, or a host and port such as hooks.internal:8080", entry))
			continue
		}
		a.hosts[entry] = true
	}
	return a, errors.Join(errs...)
}

// dialer dials what may be called.
type dialer struct {
	allowed  allowed
	guardian *ssrf.Guardian
	open     net.Dialer
	guarded  net.Dialer
	// connecting is told of each address before it is connected to; for tests.
	connecting func(address string)
}

func newDialer(a allowed, resolver *net.Resolver) *dialer {
	d := &dialer{
		allowed: a,
		guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(a.v4...), ssrf.WithAllowedV6Prefixes(a.v6...),
			ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32"))), // Azure's own, in a public range
		open:       net.Dialer{Timeout: connectTimeout, Resolver: resolver},
		connecting: func(string) {},
	}
	d.guarded = d.open
	d.open.Control = func(_, address string, _ syscall.RawConn) error {
		d.connecting(address)
		return nil
	}
	d.guarded.Control = func(network, address string, c syscall.RawConn) error {
		if d.guardian.Safe(network, address, c) != nil {
			return errNotAllowed
		}
		d.connecting(address)
		return nil
	}
	return d
}

// dial is http.Transport.DialContext. Address is what the URL names, not yet
// resolved.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.allowed.hosts[strings.ToLower(address)] {
		return d.open.DialContext(ctx, network, address)
	}
	return d.guarded.DialContext(ctx, network, address)
}
