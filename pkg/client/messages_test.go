package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
)

// awaitInterest waits until a delivery to the target is acked.
func awaitInterest(t *testing.T, nc *nats.Conn) {
	t.Helper()
	natstest.Await(t, "interest in the target", func() error {
		reply, err := nc.Request(target, nil, 5*time.Second)
		if err == nil && string(reply.Data) != "+ACK" {
			err = fmt.Errorf("answer %q", reply.Data)
		}
		return err
	})
}

func TestMessagesYieldsAndGivesBackTheRest(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cancel func()) (goOn bool){
		"when the loop ends":    func(func()) bool { return false },
		"when the context ends": func(cancel func()) bool { cancel(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t)
			e := newEmitter(t, nc)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sent, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- ackUpTo(ctx, c, 3, sent, func() bool { return end(cancel) }) }()
			awaitInterest(t, nc)
			for seq := range uint64(5) {
				e.send(seq+1, 1)
			}
			flush(t, nc)
			close(sent)
			for want := range uint64(5) {
				seq, body := e.answer()
				if ack := want < 3; seq != want+1 || (body == "+ACK") != ack {
					t.Errorf("answer to %d = %q", seq, body)
				}
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			e.none()
		})
	}
}

// ackUpTo acks deliveries up to the event last, once sent is closed.
func ackUpTo(ctx context.Context, c *client.Client, last uint64, sent <-chan struct{}, end func() bool) error {
	for d, err := range c.Messages(ctx, target, "q") {
		if err != nil {
			return err
		}
		if d.Sequence() > 0 {
			<-sent
		}
		if err := d.Ack(); err != nil {
			return err
		}
		if d.Sequence() == last && !end() {
			break
		}
	}
	return nil
}

func TestMessagesYieldsAnErrorWhenTheConnectionIsClosed(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	own, nc := srv.Conn(), srv.Conn()
	c, err := client.New(own)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ackUpTo(t.Context(), c, 1, nil, nil) }()
	awaitInterest(t, nc)
	own.Close()
	if err := <-done; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error = %v, want %v", err, nats.ErrConnectionClosed)
	}
}
