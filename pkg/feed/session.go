package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
)

const (
	// heartbeat is how often a consumer that has nothing to send says so, and
	// silences how many of them may be missed. After the first one the servers are
	// asked whether there is a consumer at all.
	heartbeat = 500 * time.Millisecond
	silences  = 6
	// overdue is how long after the last heartbeat the next one counts as missed:
	// it need not come to the instant.
	overdue = heartbeat * 3 / 2
	// expires is how long the server keeps a request for more. It costs as many
	// requests a second as there are feeds at rest, divided by it; that a request
	// is gone the missing heartbeats say, long before.
	expires = 2 * time.Minute
	// beside is what a message may have beyond the server's largest payload: its
	// subjects, and what the server adds.
	beside = 64 << 10
	// words is room for the protocol's own messages beside the stream's.
	words = 64
)

var errSilent = errors.New("the consumer is silent")

// session is the life of one consumer. Requests for messages are for half of
// what may lie in the client each. The next one goes out when the server has
// little left to serve of the one before, so that it need not wait for it, and
// half of that has been handled. So two are out at most: the server serves those
// that are out in turns, and the older one ends first.
type session struct {
	feed  *Feed
	name  string // the consumer's name
	next  string // the subject of requests
	inbox string // where answers to requests come in; those to probes come in one token below
	sub   *nats.Subscription
	msgs  chan *nats.Msg

	batch, bytes int // how much one request asks for
	expires      time.Duration
	left         int    // messages that requests may still bring, or have brought here
	alone        bool   // the next message is larger than a request's bytes
	number       uint64 // which message of the consumer the last one was

	pending uint64 // when the consumer was made
	listed  bool
	alive   bool // the server was heard
	heard   bool // since the last tick
	misses  int  // ticks without a word
	tick    *time.Ticker
}

func newSession(f *Feed, info *jetstream.ConsumerInfo) (*session, error) {
	nc := f.js.Conn()
	s := &session{
		feed: f, name: info.Name, next: jsapi.Subject(f.js, "CONSUMER.MSG.NEXT."+f.cfg.Stream+"."+info.Name),
		msgs:  make(chan *nats.Msg, f.cfg.Messages+words),
		batch: max(f.cfg.Messages/2, 1), bytes: max(f.cfg.Bytes/2, int(nc.MaxPayload())+beside), expires: expires,
		pending: info.NumPending, tick: time.NewTicker(overdue),
	}
	s.limit(info.Config)
	return s, s.subscribe()
}

func (s *session) subscribe() (err error) {
	nc := s.feed.js.Conn()
	s.inbox = nc.NewInbox() + ".m"
	if s.sub, err = nc.ChanSubscribe(strings.TrimSuffix(s.inbox, "m")+"*", s.msgs); err != nil {
		return fmt.Errorf("subscribe to messages of %q: %w", s.feed.cfg.Stream, err)
	}
	return nil
}

// resume goes on with the same consumer over a new connection. To make another
// one takes the leader of the whole cluster, and it may be the server of that
// which is gone. A message that was lost on the way is missed by its number. The
// new inbox keeps what the server has for earlier requests from counting.
func (s *session) resume() error {
	s.close()
	if err := s.subscribe(); err != nil {
		return err
	}
	s.left = len(s.msgs)
	s.heard, s.misses = false, silences-2 // it may be gone with its server
	s.tick.Reset(overdue)
	return nil
}

// limit keeps requests within what the server allows.
func (s *session) limit(c jetstream.ConsumerConfig) {
	if n := c.MaxRequestBatch; n > 0 {
		s.batch = min(s.batch, n)
	}
	if n := c.MaxRequestMaxBytes; n > 0 {
		s.bytes = min(s.bytes, n)
	}
	if d := c.MaxRequestExpires; d > 0 {
		s.expires = min(s.expires, d)
	}
}

func (s *session) close() { _ = s.sub.Unsubscribe() } // an error means that the connection is closed

// read hands over what the consumer sends until that ends, and says why.
func (s *session) read(ctx context.Context) error {
	if s.pending == 0 {
		s.list()
	}
	s.tick.Reset(overdue)
	defer s.tick.Stop()
	for {
		if err := s.ask(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.feed.kick:
			return errAsked
		case <-s.feed.up:
			if err := s.resume(); err != nil {
				return err
			}
		case <-s.tick.C:
			if err := errors.Join(s.listen(), s.probe()); err != nil {
				return err
			}
		case m := <-s.msgs:
			if err := s.takeAll(ctx, m); err != nil {
				return err
			}
		}
	}
}

// takeAll takes m and what lies behind it already.
func (s *session) takeAll(ctx context.Context, m *nats.Msg) error {
	for n := len(s.msgs); ; n-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.take(m); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := s.ask(); err != nil {
			return err
		}
		m = <-s.msgs
	}
}

// ask asks for more, if it is time to.
func (s *session) ask() error {
	waiting := len(s.msgs)
	if s.left-waiting > s.batch/4 || waiting > s.batch/2 {
		return nil
	}
	batch, bytes := s.batch, s.bytes
	if s.alone {
		batch, bytes = 1, 0
	}
	s.left += batch
	body := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
		batch, bytes, s.expires, min(heartbeat, s.expires/2))
	return s.request(s.inbox, body)
}

// request sends a request, unless the connection is away: there will be another
// one when it is back.
func (s *session) request(reply string, body []byte) error {
	err := s.feed.js.Conn().PublishRequest(s.next, reply, body)
	if err != nil && !errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("ask for messages of %q: %w", s.feed.cfg.Stream, err)
	}
	return nil
}

// take takes one message of the server.
func (s *session) take(m *nats.Msg) error {
	at, ok := parse(m.Reply)
	switch {
	case m.Reply == "":
		return s.word(m)
	case !ok || at.consumer != s.name || at.stream != s.feed.cfg.Stream:
		return nil // from a stranger
	case at.number != s.number+1:
		return fmt.Errorf("message %d of the consumer came after %d", at.number, s.number)
	}
	f := s.feed
	s.number = at.number
	s.left = max(s.left-1, 0)
	s.alone = false
	s.live()
	f.last, f.begun = at.sequence, true
	if f.state != (State{}) {
		f.become(State{})
	}
	f.handle(Msg{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: at.sequence, Time: at.at, Pending: at.pending})
	if at.pending == 0 {
		s.list()
	}
	return nil
}

// word takes a word of the protocol. After one that ends a request the next one
// is due; all others but heartbeats end the session.
func (s *session) word(m *nats.Msg) error {
	status, description := m.Header.Get("Status"), m.Header.Get("Description")
	const tooLarge = "Message Size Exceeds MaxBytes"
	switch {
	case m.Subject != s.inbox && status != "503":
		return nil // to a probe, or to a request of the connection before
	case status == "100":
		// It comes behind all that was sent.
		if sent, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && sent > s.number {
			return fmt.Errorf("the consumer has sent %d messages, %d came", sent, s.number)
		}
		s.live()
		s.heard, s.misses = false, 0 // that the next one does not come is to be seen at the next tick
		s.tick.Reset(overdue)
		if f := s.feed; f.state.Err != nil {
			f.become(State{Reopened: f.state.Reopened})
		}
		s.list()
		return nil
	case status == "408", status == "404", status == "409" && (description == "Batch Completed" || description == tooLarge):
		s.live()
		unserved, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if err != nil || unserved < 0 {
			unserved = s.left
		}
		s.left = max(s.left-unserved, 0)
		s.alone = s.alone || description == tooLarge && unserved >= s.batch
		return nil
	case status == "":
		return nil // from a stranger
	}
	return fmt.Errorf("the server ends the consumer: %s %s", status, description)
}

// live notes that the server was heard.
func (s *session) live() { s.alive, s.heard = true, true }

// list tells, once, that the server has nothing more for now.
func (s *session) list() {
	if !s.listed {
		s.listed = true
		s.feed.cfg.OnListed()
	}
}

// listen counts the ticks without a word of the server. What waits here has come
// already: only the handler is slow.
func (s *session) listen() error {
	switch {
	case s.heard || len(s.msgs) > 0:
		s.heard, s.misses = false, 0
		s.tick.Reset(heartbeat)
	case s.misses+1 >= silences:
		return jsapi.Denied(s.feed.js.Conn(), s.name, errSilent)
	default:
		s.misses++
		s.tick.Reset(heartbeat)
	}
	return nil
}

// probe asks a silent consumer for a message at once, in order to hear that nobody
// takes requests: the servers say that of a consumer whose server is gone. Other
// answers prove nothing, since it is the requests before that have to be served.
func (s *session) probe() error {
	if s.misses == 0 {
		return nil
	}
	return s.request(strings.TrimSuffix(s.inbox, "m")+"p", []byte(`{"batch":1,"no_wait":true}`))
}
