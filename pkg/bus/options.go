package bus

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/natscontext"
)

const (
	dialTimeout   = 2 * time.Second // where Config.Timeout is 0
	pingInterval  = 5 * time.Second
	maxPings      = 2 // unanswered, then the connection is given up
	reconnectWait = 200 * time.Millisecond
)

// options are those of the context, of the house, of c and of the caller; each
// wins over those before it.
func (c Config) options(name string, log zerolog.Logger, more []nats.Option) (nats.Options, error) {
	o, err := c.contextOptions()
	if err != nil {
		return o, err
	}
	for _, opt := range append(append(c.house(name, log), c.own()...), more...) {
		if err := opt(&o); err != nil {
			return o, err
		}
	}
	return o, checkContextPrefix(o)
}

// errNoDial ends natscontext.Connect before it connects.
var errNoDial = errors.New("no dial")

// contextOptions are those of the context that c names, without one NATS'
// defaults.
func (c Config) contextOptions() (nats.Options, error) {
	o := nats.GetDefaultOptions()
	if c.Context == "" {
		return o, nil
	}
	// The package has no other way to its options than the last of them, which
	// sees what those before it have set.
	_, _, err := natscontext.Connect(c.Context, func(all *nats.Options) error {
		o = *all
		return errNoDial
	})
	if !errors.Is(err, errNoDial) {
		return o, fmt.Errorf("context %q: %w", c.Context, err)
	}
	return o, nil
}

func (c Config) house(name string, log zerolog.Logger) []nats.Option {
	return append([]nats.Option{
		nats.Name(name),
		nats.Timeout(cmp.Or(c.Timeout, dialTimeout)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be repaired while we wait
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
	}, handlers(log)...)
}

// own are the options that c's own fields ask for.
func (c Config) own() []nats.Option {
	var opts []nats.Option
	if c.URL != "" {
		opts = append(opts, servers(c.URL))
	}
	opts = append(opts, c.identity)
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		opts = append(opts, nats.ClientCert(c.Cert, c.Key))
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
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

// identity says who we are, in the order of the nats CLI: a user, whether ours
// or the context's, comes first, then credentials, then a key. A token is said
// beside them.
func (c Config) identity(o *nats.Options) error {
	o.User = cmp.Or(c.User, o.User)
	o.Password = cmp.Or(c.Password, o.Password)
	o.Token = cmp.Or(c.Token, o.Token)
	switch {
	case o.User != "":
		o.UserJWT, o.Nkey, o.SignatureCB = nil, "", nil
		return nil
	case c.Creds != "":
		o.Nkey = "" // nats.go takes no more than one of them
		return nats.UserCredentials(c.Creds)(o)
	case c.NKey != "" && o.UserJWT == nil:
		use, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return err
		}
		return use(o)
	}
	return nil
}

func handlers(log zerolog.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if nc.IsClosed() || nc.IsDraining() {
				return
			}
			log.Warn().Err(err).Str("servers", Servers(nc)).Msg("nats connection lost")
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info().Str("server", Server(nc)).Uint64("reconnects", nc.Stats().Reconnects).Msg("nats connection back")
			if err := checkVersion(nc); err != nil {
				log.Error().Err(err).Msg("nats server is too old")
			}
		}),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			log.Info().Str("server", Server(nc)).Msg("nats server is shutting down")
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

// shownServers is where o would connect to, for people.
func shownServers(o nats.Options) string {
	all := o.Servers
	if o.Url != "" {
		all = append(strings.Split(o.Url, ","), all...)
	}
	if len(all) == 0 {
		all = []string{nats.DefaultURL}
	}
	shown := make([]string, len(all))
	for i, s := range all {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil {
			shown[i] = "(not a URL)"
			continue
		}
		shown[i] = redacted(u)
	}
	return strings.Join(shown, ", ")
}
