package standalone

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

// defaultURL is the server that the nats CLI takes by itself.
const defaultURL = "nats://127.0.0.1:4222"

// announce returns a Runner that says, once everything is ready, what to type
// next.
func announce(cfg Config, url string, d service.Deps) service.Runner {
	return service.RunnerFunc("announcement", func(ctx context.Context) error {
		for {
			changed := d.Health.Changed()
			if ready, _ := d.Health.Ready(); ready {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
		if cfg.Out != nil {
			// The text is a courtesy: where it cannot be shown, all still runs.
			_, _ = io.WriteString(cfg.Out, welcome(url, cfg, d.Common))
		}
		<-ctx.Done()
		return nil
	})
}

// welcome is the text: what runs where, and four commands from nothing to a
// delivered event.
func welcome(url string, cfg Config, c service.Common) string {
	nats := "nats"
	if url != defaultURL {
		nats += " -s " + url
	}
	return strings.Join([]string{
		fmt.Sprintf("Sluice is ready: NATS at %s (listening on %s, %s), http://%s/metrics, data in %s. Ctrl-C stops it. In other terminals:",
			url, cfg.NATSAddr, cfg.asks(), c.HTTPAddr, cfg.DataDir),
		nats + ` stream add GITHUB --subjects 'github.>' --defaults`,
		nats + ` req ` + c.Namespace.API(wire.VerbSubscribe, "triage") +
			` '{"store":"GITHUB","selector":{"by_event_type":"opened"},"deliver":{"subject":"triage.issues"}}'`,
		nats + ` reply triage.issues ok     # a subscriber: leave it running`,
		nats + ` pub github.octocat.issues.opened '{"title":"It works"}'`,
		"",
	}, "\n")
}

// asks says what the server wants to know of its clients.
func (c Config) asks() string {
	switch {
	case c.User != "":
		return "for user " + c.User
	case c.Token != "":
		return "for who has the token"
	default:
		return "without authentication"
	}
}
