package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of the server for a write that it has no room for.
const (
	codeAccountFull  jetstream.ErrorCode = 10002 // the account has used up its share
	codeResources    jetstream.ErrorCode = 10023 // among other things: the disk is full
	codeMemoryFull   jetstream.ErrorCode = 10028
	codeStorageFull  jetstream.ErrorCode = 10047
	codeStoreRefused jetstream.ErrorCode = 10077 // the stream itself; the text says why
)

// ErrFull is in the error of a write that had no room: Full says where.
var ErrFull = errors.New("storage is full")

// Full says what is full where err is the server's word that it has no room
// for a write; it returns false for any other error.
func Full(err error) (what string, full bool) {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return "", false
	}
	switch api.ErrorCode {
	case codeAccountFull:
		return "the account has used up its storage", true
	case codeResources, codeStorageFull:
		return "the server's disk is full, or its max_file_store is used up", true
	case codeMemoryFull:
		return "the server has no memory storage left", true
	case codeStoreRefused:
		switch text := strings.ToLower(api.Description); {
		case strings.Contains(text, "maximum bytes"), strings.Contains(text, "maximum messages"):
			return "it holds as much as it may", true
		case strings.Contains(text, "no space left"):
			return "the server's disk is full", true
		}
	}
	return "", false
}

// Plain makes an error say in plain words that storage is full, where it is.
func Plain(err error) error {
	if what, full := Full(err); full {
		return fmt.Errorf("%w: %s: %w", ErrFull, what, err)
	}
	return err
}

// explain makes an error of a call of js say in plain words that storage is
// full, or that there is no JetStream, where that is so.
func explain(js jetstream.JetStream, err error) error {
	if _, full := Full(err); full {
		return Plain(err)
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
