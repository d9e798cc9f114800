package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natsd"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/emitter"
	"github.com/sluicehq/sluice/services/healthmon/healthmon"
	"github.com/sluicehq/sluice/services/registry/registry"
	"github.com/sluicehq/sluice/services/replayer/replayer"
)

// Config of the process, beside that of the services in it.
type Config struct {
	// NATSAddr is where the embedded server listens, as host:port with a port
	// that is not 0. Defaults to 127.0.0.1:4222.
	NATSAddr string `env:"SLUICE_NATS_ADDR" envDefault:"127.0.0.1:4222" desc:"where the embedded nats-server listens"`

	// DataDir is where the embedded server keeps its stores. Defaults to ./data.
	DataDir string `env:"SLUICE_DATA_DIR" envDefault:"./data" desc:"where the embedded nats-server keeps its stores"`

	// User and Password, or Token, are what the embedded server asks its clients
	// for. Required where other machines reach NATSAddr. Defaults to nothing.
	User     string `env:"NATS_USER" desc:"user that clients of the embedded nats-server must be"`
	Password string `env:"NATS_PASSWORD" desc:"password of that user"`
	Token    string `env:"NATS_TOKEN" desc:"token that clients must have instead"`

	// Out gets the text that says what to type next. Defaults to nowhere.
	Out io.Writer
}

// FromEnv makes the whole of Sluice as an environment configures it. Where NATS is
// that says only by SLUICE_NATS_ADDR: other NATS_* than user, password and token are
// for services on their own.
func FromEnv() service.Factory {
	configs := []any{new(Config)}
	for _, p := range parts() {
		configs = append(configs, p.Configs...)
	}
	return service.Factory{Configs: configs, New: func(env service.Env, d service.Deps) (service.Runner, error) {
		cfg := Config{Out: os.Stdout}
		if err := service.Parse(env, &cfg); err != nil {
			_, partsErr := newParts(env, d) // the services may have faults to tell as well
			return nil, errors.Join(err, partsErr)
		}
		return New(cfg, env, d)
	}}
}

// New returns the embedded server with the four services, which are configured
// by env and d, on top of it.
func New(cfg Config, env service.Env, d service.Deps) (service.Runner, error) {
	server, serverErr := newServer(cfg, d)
	if serverErr == nil {
		env, d = useServer(server.URL(), cfg, env, d)
	}
	runners, partsErr := newParts(env, d)
	if err := errors.Join(serverErr, partsErr); err != nil {
		return nil, err
	}
	runners = append(runners, announce(cfg, server.URL(), d))

	services := service.RunnerFunc("services", func(ctx context.Context) error {
		select {
		case <-server.Ready():
			return service.RunAll(ctx, runners...)
		case <-ctx.Done():
			return nil
		}
	})
	return service.Atop(service.RunnerFunc("nats-server", server.Run), services), nil
}

func newServer(cfg Config, d service.Deps) (*natsd.Server, error) {
	server, err := natsd.New(natsd.Config{
		Addr: cfg.NATSAddr, DataDir: cfg.DataDir, User: cfg.User, Password: cfg.Password, Token: cfg.Token,
		Log: d.For("nats-server").Log,
	})
	if err != nil {
		return nil, err
	}
	if server.URL() == "" {
		return nil, fmt.Errorf("SLUICE_NATS_ADDR: %q: want a port that is not 0", cfg.NATSAddr)
	}
	return server, nil
}

// Unread names the common variables that standalone does not read: its server
// is in the same process.
func Unread() []string {
	return []string{
		"NATS_URL", "NATS_CONTEXT", "NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_TIMEOUT",
	}
}

// useServer returns env and d with the server at url in them, and without what
// they say about any other.
func useServer(url string, cfg Config, env service.Env, d service.Deps) (service.Env, service.Deps) {
	if env["NATS_CONTEXT"] != "" || env["NATS_URL"] != "" && env["NATS_URL"] != url {
		d.Log.Warn().Str("url", url).Msg("NATS_URL and NATS_CONTEXT are not used: the server is in this process")
	}
	d.Common.NATS = bus.Config{
		URL: url, User: cfg.User, Password: cfg.Password, Token: cfg.Token, InboxPrefix: d.Common.NATS.InboxPrefix,
	}
	return env.Without(Unread()...).With("NATS_URL", url), d
}

// part is one of the services.
type part struct {
	name string
	service.Factory
}

func parts() []part {
	return []part{
		{wire.ServiceRegistry, registry.FromEnv()},
		{wire.ServiceEmitter, emitter.FromEnv()},
		{wire.ServiceHealthmon, healthmon.FromEnv()},
		{wire.ServiceReplayer, replayer.FromEnv()},
	}
}

// newParts returns the four services. Its error holds the faults of all.
func newParts(env service.Env, d service.Deps) ([]service.Runner, error) {
	var runners []service.Runner
	var errs []error
	for _, p := range parts() {
		r, err := p.New(env, d.For(p.name))
		runners, errs = append(runners, r), append(errs, err)
	}
	return runners, errors.Join(errs...)
}
