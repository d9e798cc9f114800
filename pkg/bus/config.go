package bus

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Config says how to reach NATS, in the words of the nats CLI. As there, what
// is given beside a Context replaces what the context has; and of several ways
// to say who we are a user comes before credentials, and those before a key.
type Config struct {
	// URL is one server or several, separated by commas. Required without
	// Context.
	URL string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" desc:"servers to connect to, separated by commas; the default unless a context names others"`
	// Context is the name of a nats CLI context, or an absolute path of one: it
	// gives what the other fields do not. Default none, the selected one neither.
	Context string `env:"NATS_CONTEXT" desc:"context of the nats CLI: gives what the other variables do not"`
	// User and Password say who we are. A Password alone is for a context's user.
	User     string `env:"NATS_USER" desc:"user name"`
	Password string `env:"NATS_PASSWORD" desc:"password of the user"`
	// Token is what a server with token authentication asks for.
	Token string `env:"NATS_TOKEN" desc:"token"`
	// Creds is a credentials file: a JWT and its key.
	Creds string `env:"NATS_CREDS" desc:"credentials file"`
	// NKey is a file with the seed of a user's key.
	NKey string `env:"NATS_NKEY" desc:"file with the seed of a user's nkey"`
	// CA is a PEM file of the authorities to trust. Default the system's.
	CA string `env:"NATS_CA" desc:"PEM file of the authorities to trust"`
	// Cert and Key are PEM files of the client's certificate. Both or neither.
	Cert string `env:"NATS_CERT" desc:"PEM file of the client's certificate, with NATS_KEY"`
	Key  string `env:"NATS_KEY" desc:"PEM file of the certificate's key, with NATS_CERT"`
	// Timeout is how long one attempt to connect may take, at most a minute.
	// Defaults to 2s.
	Timeout time.Duration `env:"NATS_TIMEOUT" envDefault:"2s" desc:"how long one attempt to connect may take"`
	// InboxPrefix begins the inboxes of this process. Defaults to that of
	// Context, and to _INBOX.
	InboxPrefix string `env:"SLUICE_INBOX_PREFIX" envDefault:"_INBOX" desc:"begins the inboxes of the services; the default unless a context names another"`
}

// maxTimeout bounds one attempt to connect, and so how long an end may take.
const maxTimeout = time.Minute

// Validate reports everything that is wrong with c, by the names of the
// environment variables. It does not look at files: CheckFiles does.
func (c Config) Validate() error {
	var errs []error
	if c.Context == "" || c.URL != "" {
		errs = append(errs, validateURL(c.URL))
	}
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, fmt.Errorf("NATS_CERT %q and NATS_KEY %q: set both or neither", c.Cert, c.Key))
	}
	if c.Password != "" && c.User == "" && c.Context == "" {
		errs = append(errs, errors.New("NATS_PASSWORD: want NATS_USER with it"))
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("NATS_TIMEOUT: %s: want at most %s", c.Timeout, maxTimeout))
	}
	if c.InboxPrefix != "" {
		if err := wire.ValidateInboxPrefix(c.InboxPrefix); err != nil {
			errs = append(errs, fmt.Errorf("SLUICE_INBOX_PREFIX: %w", err))
		}
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
			return fmt.Errorf("NATS_URL %q: no host", redacted(u))
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("NATS_URL %q: want nats, tls, ws or wss", redacted(u))
		}
	}
	return nil
}

// redacted is u for people. A user's name may be a token, so it is not shown
// either.
func redacted(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	shown := *u
	shown.User = url.User("xxxxx")
	return shown.String()
}

// CheckFiles reports every file of c that cannot be used, and a context that
// cannot be read, or whose files cannot. Of a context it is the first fault.
func (c Config) CheckFiles() error {
	var errs []error
	check := func(variable string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", variable, err))
		}
	}
	if c.Context != "" {
		o, err := c.contextOptions()
		if err == nil {
			err = errors.Join(checkCredentials(o), checkContextPrefix(o))
		}
		check("NATS_CONTEXT", err)
	}
	if c.Creds != "" {
		var o nats.Options
		check("NATS_CREDS", errors.Join(nats.UserCredentials(c.Creds)(&o), checkCredentials(o)))
	}
	if c.NKey != "" {
		_, err := nats.NkeyOptionFromSeed(c.NKey)
		check("NATS_NKEY", err)
	}
	if c.CA != "" {
		check("NATS_CA", nats.RootCAs(c.CA)(&nats.Options{}))
	}
	if c.Cert != "" && c.Key != "" {
		check("NATS_CERT, NATS_KEY", nats.ClientCert(c.Cert, c.Key)(&nats.Options{}))
	}
	return errors.Join(errs...)
}

// checkCredentials reads what o would read when it connects.
func checkCredentials(o nats.Options) error {
	if o.UserJWT != nil {
		if _, err := o.UserJWT(); err != nil {
			return err
		}
	}
	if o.SignatureCB != nil {
		if _, err := o.SignatureCB([]byte("nonce")); err != nil {
			return err
		}
	}
	return nil
}

func checkContextPrefix(o nats.Options) error {
	if o.InboxPrefix == "" {
		return nil
	}
	if err := wire.ValidateInboxPrefix(o.InboxPrefix); err != nil {
		return fmt.Errorf("inbox_prefix: %w", err)
	}
	return nil
}
