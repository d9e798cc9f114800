package jsapi

import (
	"errors"
	"strings"

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

// FullError is the error of a write that had no room. Nothing was written.
type FullError struct {
	What string // is full, in plain words
	Own  bool   // it is a bound of the stream itself
	Err  error  // the server's word
}

func (e *FullError) Error() string { return e.Plain() + ": " + e.Err.Error() }

// Plain is the error in plain words alone.
func (e *FullError) Plain() string { return "storage is full: " + e.What }

func (e *FullError) Unwrap() error { return e.Err }

// Full returns err, the error of a write to what is called it ("the bucket b"),
// as a *FullError where it is the server's word that it has no room.
func Full(it string, err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	full := &FullError{Err: err}
	switch api.ErrorCode {
	case codeAccountFull:
		full.What = "the account has used up its storage"
	case codeResources, codeStorageFull:
		full.What = "the server's disk is full, or its max_file_store is used up"
	case codeMemoryFull:
		full.What = "the server has no memory storage left"
	case codeStoreRefused:
		switch text := strings.ToLower(api.Description); {
		case strings.Contains(text, "maximum bytes"), strings.Contains(text, "maximum messages"):
			full.What, full.Own = it+" holds as much as it may", true
		case strings.Contains(text, "no space left"):
			full.What = "the server's disk is full"
		}
	}
	if full.What == "" {
		return err
	}
	return full
}
