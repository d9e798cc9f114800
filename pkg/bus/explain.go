package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
)

// explain makes an error of a call of js say in plain words that storage is
// full, or that there is no JetStream, where that is so.
func explain(js jetstream.JetStream, err error) error {
	var full *jsapi.FullError
	if err = jsapi.Full("the stream", err); errors.As(err, &full) {
		return err
	}
	enabled, _ := js.Conn().ConnectedServerJetStream()
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("JetStream is not enabled for the account: %w", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders) && !enabled:
		return fmt.Errorf("JetStream is not enabled on the server %s: %w", Server(js.Conn()), err)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("JetStream has no leader, or this user may not ask it: %w", err)
	}
	return err
}
