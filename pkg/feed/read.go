package feed

import (
	"context"
	"errors"
	"fmt"
)

// Read hands over what a stream holds, and returns once its server has nothing
// more to send for now. The error, where ctx ends first, says why it was not
// read. Of cfg it does not use OnState and OnListed.
func Read(ctx context.Context, js JetStream, cfg Config, handle func(Msg)) error {
	reading, done := context.WithCancel(ctx)
	defer done()
	var last error
	all := false
	cfg.OnState = func(s State) { last = s.Err }
	cfg.OnListed = func() { all = true; done() }
	switch err := New(js, cfg).Run(reading, handle); {
	case err != nil:
		return err
	case !all:
		return fmt.Errorf("read stream %q: %w", cfg.Stream, errors.Join(context.Cause(ctx), last))
	}
	return nil
}
