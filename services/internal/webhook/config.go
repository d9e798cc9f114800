package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds of a request.
const (
	connectTimeout  = 5 * time.Second
	maxAnswerHeader = 64 << 10
	idleTimeout     = 90 * time.Second
	maxIdle         = 1024 // connections over all hosts
)

// Config of a sender.
type Config struct {
	// Allow names what may be called although its address is not public: ranges
	// (10.0.0.0/8), and hosts with their port (hooks.internal:8080).
	Allow []string
	// Proxy returns the proxy of a request, as http.Transport has it. The address
	// that is judged is the proxy's then. Nil: there is none.
	Proxy func(*http.Request) (*url.URL, error)
	// PerHost bounds the requests to one host, over all targets; 1 to 10,000.
	PerHost int
	// Secrets finds the keys that requests are signed with.
	Secrets Secrets
	// Roots are whose certificates are trusted. Nil: those of the system.
	Roots *x509.CertPool
	// Resolver resolves names. Nil: that of the system.
	Resolver *net.Resolver
}

// Secrets finds secrets; *secret.Store is one.
type Secrets interface {
	Words(name string) ([]string, error)
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	_, err := parseAllowed(c.Allow)
	if err != nil {
		err = fmt.Errorf("SLUICE_HTTP_ALLOW: %w", err)
	}
	if c.PerHost < 1 || c.PerHost > 10_000 {
		err = errors.Join(err, fmt.Errorf("SLUICE_HTTP_PER_HOST: %d: want 1 to 10000", c.PerHost))
	}
	return err
}

// newTransport returns one that dials with d. It keeps connections alive, and
// speaks HTTP/2 where the host does.
func newTransport(c Config, d *dialer) *http.Transport {
	return &http.Transport{
		DialContext:            d.dial,
		Proxy:                  c.Proxy,
		TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: idleTimeout / 6, PingTimeout: connectTimeout},
		DisableCompression:     true, // a body that is small must not become a large one
		MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    c.PerHost,
		IdleConnTimeout:        idleTimeout,
	}
}

// stay is http.Client.CheckRedirect: no redirect is followed. It would lead where
// nobody has agreed to send events.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
