package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/natscontext"
)

// Config says how to reach NATS, in the words of the nats CLI. As there, what
// is given beside a Context replaces what the context has.
type Config struct {
	// URL is one server or several, separated by commas. Required without
	// Context.
	URL string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222"`
	// Creds is a credentials file. A context with a user and password keeps
	// those. Default none.
	Creds string `env:"NATS_CREDS"`
	// Context is the name of a nats CLI context, or an absolute path of one: it
	// gives what the other fields do not. Default none, the selected one neither.
	Context string `env:"NATS_CONTEXT"`
	// CA is a PEM file of the authorities to trust. Default the system's.
	CA string `env:"NATS_CA"`
	// Cert and Key are PEM files of the client's certificate. Both or neither.
	Cert string `env:"NATS_CERT"`
	Key  string `env:"NATS_KEY"`
}

// Validate reports everything that is wrong with c, by the names of the
// environment variables. It does not look at files.
func (c Config) Validate() error {
	var errs []error
	if c.Context == "" || c.URL != "" {
		errs = append(errs, validateURL(c.URL))
	}
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, fmt.Errorf("NATS_CERT %q and NATS_KEY %q: set both or neither", c.Cert, c.Key))
	}
	return errors.Join(errs...)
}

// validateURL takes what nats.go takes: a bare host:port is a nats URL too.
func validateURL(servers string) error {
	for s := range strings.SplitSeq(servers, ",") {
		s = strings.TrimSpace(s)
		if s != "" && !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return errors.New("NATS_URL: not a URL") // the error would show a password in it
		case u.Host == "":
			return fmt.Errorf("NATS_URL %q: no host", u.Redacted())
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("NATS_URL %q: want nats, tls, ws or wss", u.Redacted())
		}
	}
	return nil
}

const (
	dialTimeout    = 2 * time.Second
	pingInterval   = 5 * time.Second
	maxPings       = 2 // unanswered, then the connection is given up
	reconnectWait  = 200 * time.Millisecond
	minRetry       = 100 * time.Millisecond
	maxRetry       = 5 * time.Second
	repeatWarnings = 30 * time.Second
)

// Connect connects to NATS under the given client name. It keeps trying until
// it succeeds or ctx ends, and logs why it waits. It returns at most one dial
// timeout (2 s) after ctx has ended, with an error that wraps ctx's and the
// last real one.
//
// The connection reconnects for ever and buffers nothing while it is away:
// requests and publishes then fail at once. A dead server is noticed after
// 15 s at most. Changes of the connection are logged. The caller closes it.
// Options given override these settings.
func Connect(ctx context.Context, cfg Config, name string, log zerolog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("nats config: %w", err)
	}
	all := append(cfg.options(name, log), opts...)
	return retry(ctx, log, "connect to NATS", func() (*nats.Conn, error) {
		if cfg.Context != "" {
			nc, _, err := natscontext.Connect(cfg.Context, all...)
			if err != nil {
				return nil, fmt.Errorf("context %q: %w", cfg.Context, err)
			}
			return nc, nil
		}
		return nats.Connect(cfg.URL, all...)
	})
}

// options are those that cfg and the house ask for.
func (c Config) options(name string, log zerolog.Logger) []nats.Option {
	opts := append([]nats.Option{
		nats.Name(name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be repaired while we wait
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
	}, handlers(log)...)
	if c.Context != "" && c.URL != "" {
		opts = append(opts, servers(c.URL))
	}
	if c.Creds != "" {
		opts = append(opts, credentials(c.Creds))
	}
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		opts = append(opts, nats.ClientCert(c.Cert, c.Key))
	}
	return opts
}

// servers replaces the servers that a context has named.
func servers(urls string) nats.Option {
	return func(o *nats.Options) error {
		o.Url, o.Servers = "", strings.FieldsFunc(urls, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	}
}

// credentials replaces a context's credentials or key, but not its user and
// password, which come first for the nats CLI too.
func credentials(file string) nats.Option {
	use := nats.UserCredentials(file)
	return func(o *nats.Options) error {
		if o.User != "" {
			return nil
		}
		o.Nkey = "" // nats.go takes no more than one of them
		return use(o)
	}
}

func handlers(log zerolog.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if nc.IsClosed() || nc.IsDraining() {
				return
			}
			log.Warn().Err(err).Msg("nats connection lost")
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info().Str("server", nc.ConnectedUrlRedacted()).
				Uint64("reconnects", nc.Stats().Reconnects).Msg("nats connection back")
		}),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			log.Info().Str("server", nc.ConnectedUrlRedacted()).Msg("nats server is shutting down")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			e := log.Warn().Err(err)
			if sub != nil {
				e = e.Str("subject", sub.Subject)
			}
			e.Msg("nats reports an error")
		}),
	}
}

// retry runs op until it succeeds or ctx ends, with exponential backoff and
// jitter. It logs a failure when it differs from the one before, and an
// unchanged one every 30 s.
func retry[T any](ctx context.Context, log zerolog.Logger, what string, op func() (T, error)) (T, error) {
	var (
		last, logged error
		loggedAt     time.Time
	)
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = minRetry, maxRetry
	v, err := backoff.Retry(ctx, func() (T, error) {
		v, err := op()
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return v, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		if logged != nil && logged.Error() == err.Error() && time.Since(loggedAt) < repeatWarnings {
			return
		}
		logged, loggedAt = err, time.Now()
		log.Warn().Err(err).Int64("retry_ms", next.Milliseconds()).Msg("cannot " + what + ", still trying")
	}))
	if err == nil {
		if logged != nil {
			log.Info().Msg(what + " succeeded")
		}
		return v, nil
	}
	var zero T
	return zero, fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), last))
}

// NewInstanceID returns a fresh name for a running instance of service, e.g.
// "emitter-1f3a90c2". It is one token of a subject.
func NewInstanceID(service string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return service + "-" + hex.EncodeToString(b[:])
}
