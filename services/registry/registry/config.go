package registry

import (
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/pkg/service"
)

// Config limits what a registry takes on.
type Config struct {
	// MaxRequestBytes is the largest body of a request, at least 1024.
	// Defaults to 65536.
	MaxRequestBytes int `env:"SLUICE_MAX_REQUEST_BYTES" envDefault:"65536" desc:"largest request, in bytes"`

	// MaxSubscriptions is how many subscriptions the namespace may have, at
	// least 1. Several registries may together go over it by a few. Defaults
	// to 100000.
	MaxSubscriptions int `env:"SLUICE_MAX_SUBSCRIPTIONS" envDefault:"100000" desc:"most subscriptions in all"`

	// MaxRequestsPerSecond is how many requests this instance takes a second,
	// bursts of the same size included, at least 1. Defaults to 2000.
	MaxRequestsPerSecond int `env:"SLUICE_MAX_REQUESTS_PER_SECOND" envDefault:"2000" desc:"most requests per second and instance"`

	// MaxRequestsPerPrefix is how many of them may be for subscriptions whose
	// names have the same prefix, which ends before the first "-" or "_". 0, the
	// default, is half of MaxRequestsPerSecond.
	MaxRequestsPerPrefix int `env:"SLUICE_MAX_REQUESTS_PER_PREFIX" envDefault:"0" desc:"most of them for names with the same prefix; 0 is half"`
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	atLeast := func(name string, v, least int) error {
		if v < least {
			return fmt.Errorf("%s %d: want at least %d", name, v, least)
		}
		return nil
	}
	return errors.Join(
		atLeast("SLUICE_MAX_REQUEST_BYTES", c.MaxRequestBytes, 1024),
		atLeast("SLUICE_MAX_SUBSCRIPTIONS", c.MaxSubscriptions, 1),
		atLeast("SLUICE_MAX_REQUESTS_PER_SECOND", c.MaxRequestsPerSecond, 1),
		atLeast("SLUICE_MAX_REQUESTS_PER_PREFIX", c.MaxRequestsPerPrefix, 0),
	)
}

// perPrefix is MaxRequestsPerPrefix with its default.
func (c Config) perPrefix() int {
	if c.MaxRequestsPerPrefix > 0 {
		return c.MaxRequestsPerPrefix
	}
	return max(1, c.MaxRequestsPerSecond/2)
}

// FromEnv makes the registry that an environment describes.
func FromEnv() service.Factory { return service.FromEnv(New) }
