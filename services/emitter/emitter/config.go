package emitter

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/service"
)

// Config of an emitter.
type Config struct {
	// DrainTimeout is how long a pool that is handed over waits for answers
	// that are still out; what is not answered by then is delivered again by
	// the next owner. 0 to 5m, defaults to 5s.
	DrainTimeout time.Duration `env:"SLUICE_DRAIN_TIMEOUT" envDefault:"5s" desc:"how long a hand-over waits for answers that are out"`

	// MaxReaders bounds the consumers that one store is read through by this
	// instance, 2 to 256. Defaults to 16.
	MaxReaders int `env:"SLUICE_MAX_READERS" envDefault:"16" desc:"most consumers per store and emitter"`

	// EventBytes bounds the events held in memory, at least 1 MiB. Defaults to 256 MiB.
	EventBytes int64 `env:"SLUICE_EVENT_BYTES" envDefault:"268435456" desc:"most bytes of events that an emitter holds"`

	HTTP HTTP

	// CheckpointRate bounds the checkpoints that this instance writes in a
	// second, 10 to 100,000; one counts once more for every 200 finished ranges
	// in it. A pool's claim and what it says first after that are not paced by
	// it. Defaults to 2,000.
	CheckpointRate int `env:"SLUICE_CHECKPOINT_RATE" envDefault:"2000" desc:"most checkpoints written in a second"`
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.DrainTimeout < 0 || c.DrainTimeout > 5*time.Minute {
		errs = append(errs, fmt.Errorf("SLUICE_DRAIN_TIMEOUT: %s: want 0s to 5m", c.DrainTimeout))
	}
	if c.MaxReaders < 2 || c.MaxReaders > 256 {
		errs = append(errs, fmt.Errorf("SLUICE_MAX_READERS: %d: want 2 to 256", c.MaxReaders))
	}
	if c.EventBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("SLUICE_EVENT_BYTES: %d: want at least %d", c.EventBytes, 1<<20))
	}
	if c.CheckpointRate < 10 || c.CheckpointRate > 100_000 {
		errs = append(errs, fmt.Errorf("SLUICE_CHECKPOINT_RATE: %d: want 10 to 100000", c.CheckpointRate))
	}
	return errors.Join(append(errs, c.HTTP.Validate())...)
}

// FromEnv makes the emitter that an environment describes.
func FromEnv() service.Factory {
	return service.Factory{Configs: []any{new(Config)}, New: func(env service.Env, d service.Deps) (service.Runner, error) {
		var cfg Config
		if err := service.Parse(env, &cfg); err != nil {
			return nil, err
		}
		cfg.HTTP.Env = env
		s, err := New(cfg, d)
		if err != nil {
			return nil, err // not s, which would be a Runner that is not nil
		}
		return s, nil
	}}
}
