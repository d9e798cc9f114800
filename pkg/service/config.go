package service

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/telemetry"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Bounds of Common.
const (
	MaxReplicas   = 5 // JetStream's own limit
	MinSessionTTL = time.Second
	MaxSessionTTL = time.Hour

	MinNamesRetention = time.Second
	MaxNamesRetention = 365 * 24 * time.Hour
)

// Common is the configuration that all services share.
type Common struct {
	// Namespace prefixes every subject, stream and bucket. Defaults to sluice.
	Namespace wire.Namespace `env:"SLUICE_NAMESPACE" envDefault:"sluice" desc:"prefix of every subject, stream and bucket"`

	// Replicas of Sluice's own buckets and streams, 1 to 5. Defaults to 1.
	Replicas int `env:"SLUICE_REPLICAS" envDefault:"1" desc:"replicas of Sluice's own buckets and streams"`

	// SessionTTL is how long an instance that has gone silent keeps its
	// claims, 1s to 1h. Defaults to 10s.
	SessionTTL time.Duration `env:"SLUICE_SESSION_TTL" envDefault:"10s" desc:"how long a silent instance keeps its claims"`

	// NamesRetention is how long a subscription that was deleted leaves traces in
	// the buckets, 1s to a year; 0 is for ever. Defaults to 24h.
	NamesRetention time.Duration `env:"SLUICE_NAMES_RETENTION" envDefault:"24h" desc:"how long deleted subscriptions leave traces in the buckets; 0 is for ever"`

	// HTTPAddr is where probes and metrics are served, as host:port. Defaults to
	// 127.0.0.1:8080.
	HTTPAddr string `env:"SLUICE_HTTP_ADDR" envDefault:"127.0.0.1:8080" desc:"where /livez, /readyz and /metrics are served"`

	// PprofAddr is where Go's profiles are served, as host:port of the
	// loopback interface. Defaults to none: they are off.
	PprofAddr string `env:"SLUICE_PPROF_ADDR" desc:"where Go's profiles are served, on loopback only; off without it"`

	// LogLevel is one of trace, debug, info, warn, error, disabled. Defaults
	// to info.
	LogLevel string `env:"SLUICE_LOG_LEVEL" envDefault:"info" desc:"trace, debug, info, warn, error or disabled"`

	// LogFormat is json or console. Defaults to json.
	LogFormat string `env:"SLUICE_LOG_FORMAT" envDefault:"json" desc:"json, or console for people"`

	// Bounds of Sluice's own buckets and streams, in bytes.
	Bounds bus.Bounds

	// NATS says which NATS system to use.
	NATS bus.Config
}

// Layout is the shape of Sluice's own buckets and streams.
func (c Common) Layout() bus.Layout {
	return bus.Layout{Namespace: c.Namespace, Replicas: c.Replicas, SessionTTL: c.SessionTTL, Bounds: c.Bounds}
}

// Tombstones is how long copies of the buckets may count on tombstones: half of
// what they are kept, so that nobody's clock matters.
func (c Common) Tombstones() time.Duration { return c.NamesRetention / 2 }

// Owner is whose consumers an instance of a service makes.
func (c Common) Owner(service, instance string) feed.Owner {
	return feed.Owner{Namespace: string(c.Namespace), Service: service, Instance: instance}
}

// ParseCommon reads Common from env. The error holds everything that is wrong.
// The defaults of NATS_URL and SLUICE_INBOX_PREFIX hold where no context gives
// others.
func ParseCommon(env Env) (Common, error) {
	var c Common
	err := Parse(env, &c)
	if c.NATS.Context != "" && env["NATS_URL"] == "" {
		c.NATS.URL = ""
	}
	if c.NATS.Context != "" && env["SLUICE_INBOX_PREFIX"] == "" {
		c.NATS.InboxPrefix = ""
	}
	return c, err
}

// Validate reports everything that is wrong with c.
func (c Common) Validate() error {
	var errs []error
	if err := c.Namespace.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("SLUICE_NAMESPACE: %w", err))
	}
	if c.Replicas < 1 || c.Replicas > MaxReplicas {
		errs = append(errs, fmt.Errorf("SLUICE_REPLICAS: %d: want 1 to %d", c.Replicas, MaxReplicas))
	}
	if c.SessionTTL < MinSessionTTL || c.SessionTTL > MaxSessionTTL {
		errs = append(errs, fmt.Errorf("SLUICE_SESSION_TTL: %s: want %s to %s", c.SessionTTL, MinSessionTTL, MaxSessionTTL))
	}
	if d := c.NamesRetention; d != 0 && (d < MinNamesRetention || d > MaxNamesRetention) {
		errs = append(errs, fmt.Errorf("SLUICE_NAMES_RETENTION: %s: want 0, or %s to %s", d, MinNamesRetention, MaxNamesRetention))
	}
	if err := validateAddr(c.HTTPAddr); err != nil {
		errs = append(errs, fmt.Errorf("SLUICE_HTTP_ADDR: %w", err))
	}
	if c.PprofAddr != "" {
		if err := validateLoopback(c.PprofAddr); err != nil {
			errs = append(errs, fmt.Errorf("SLUICE_PPROF_ADDR: %w", err))
		}
	}
	if err := c.logConfig("").Validate(); err != nil {
		errs = append(errs, fmt.Errorf("SLUICE_LOG_LEVEL, SLUICE_LOG_FORMAT: %w", err))
	}
	return errors.Join(append(errs, c.Bounds.Validate(), c.NATS.Validate())...)
}

func (c Common) logConfig(service string) telemetry.LogConfig {
	return telemetry.LogConfig{Service: service, Level: c.LogLevel, Format: c.LogFormat}
}

func validateAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q: want host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: want a port of 0 to 65535", addr)
	}
	return nil
}
