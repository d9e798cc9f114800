package telemetry

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Formats of the log.
const (
	FormatJSON    = "json"    // one JSON object a line
	FormatConsole = "console" // text for people, without colours
)

// timeLayout is RFC 3339 with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// LogConfig says how to log.
type LogConfig struct {
	Service string // shown in every line as "service"; left out if empty
	Level   string // trace, debug, info, warn, error or disabled; empty is info
	Format  string // FormatJSON or FormatConsole; empty is FormatJSON
}

// Validate reports everything that is wrong with c.
func (c LogConfig) Validate() error {
	_, levelErr := c.level()
	_, formatErr := c.writer(io.Discard)
	return errors.Join(levelErr, formatErr)
}

func (c LogConfig) level() (zerolog.Level, error) {
	switch c.Level {
	case "":
		return zerolog.InfoLevel, nil
	case "trace", "debug", "info", "warn", "error", "disabled":
		return zerolog.ParseLevel(c.Level)
	default:
		return zerolog.NoLevel, fmt.Errorf(
			"log level %q: want trace, debug, info, warn, error or disabled", c.Level)
	}
}

func (c LogConfig) writer(w io.Writer) (io.Writer, error) {
	switch c.Format {
	case "", FormatJSON:
		return w, nil
	case FormatConsole:
		return zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: "15:04:05.000"}, nil
	default:
		return nil, fmt.Errorf("log format %q: want %s or %s", c.Format, FormatJSON, FormatConsole)
	}
}

// NewLogger returns a logger that writes to w, which must be safe for
// concurrent use, as files are. Every line has the time in UTC with
// milliseconds.
func NewLogger(w io.Writer, cfg LogConfig) (zerolog.Logger, error) {
	level, err := cfg.level()
	out, err2 := cfg.writer(w)
	if err := errors.Join(err, err2); err != nil {
		return zerolog.Nop(), err
	}
	log := zerolog.New(out).Level(level).Hook(timestamp{})
	if cfg.Service != "" {
		log = log.With().Str("service", cfg.Service).Logger()
	}
	return log, nil
}

// timestamp adds the time. zerolog's own timestamp takes its layout from a
// package global, whose default has no fractions of a second.
type timestamp struct{}

func (timestamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(timeLayout))
}
