package park

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
)

// headerSize is what the server adds to a message that it sends without its data.
const headerSize = "Nats-Msg-Size"

// Copy is an event as it lies in the parked stream. What a parker did not write
// there, but somebody else did, may lack anything: it is then zero.
type Copy struct {
	Parked   uint64 // its sequence in the parked stream
	StoredAt time.Time
	// Event is the event, as far as it was parked: with its own place, and the
	// headers that deliveries have. Store is "" where that is not known.
	Event    selector.Event
	Reason   string
	History  []string  // why it was parked before, the oldest first
	Attempts int       // all of them
	At       time.Time // when it was parked, by the emitter's clock
	Size     int       // of the body, in bytes, also where that was not read
	// NoBody and NoHeaders say what could not be parked.
	NoBody, NoHeaders bool
}

// ReadCopy reads a message of the parked stream.
func ReadCopy(m feed.Msg) Copy {
	h := m.Header
	c := Copy{
		Parked: m.Sequence, StoredAt: m.Time, Size: len(m.Data),
		Reason: first(h, wire.HeaderParkReason), Attempts: int(min(whole(h, wire.HeaderAttempts), 1<<31-1)),
		At: moment(h, wire.HeaderParkedAt), NoBody: first(h, wire.HeaderParkedBody) != "", NoHeaders: first(h, wire.HeaderParkedHeaders) != "",
	}
	c.History = h[wire.HeaderParkHistory]
	if c.At.IsZero() {
		c.At = m.Time.UTC()
	}
	if size := whole(h, headerSize); len(m.Data) == 0 && size > 0 {
		c.Size = int(min(size, 1<<31-1))
	}
	c.Event = selector.NewEvent(first(h, wire.HeaderStore), selector.Message{
		Sequence: whole(h, wire.HeaderSequence), Time: moment(h, wire.HeaderTime),
		Subject: first(h, wire.HeaderSubject), Header: own(h), Data: m.Data,
	})
	return c
}

const (
	maxHistory = 10  // earlier parks that are remembered
	maxPast    = 256 // bytes of each reason
)

// Restore returns the event, for a pool that reads the parked stream.
func (c *Copy) Restore() *event.Event {
	now := c.At.Format(time.RFC3339) + " " + strconv.Itoa(c.Attempts) + " attempts: " + bus.HeaderText(c.Reason, maxPast)
	past := append(slices.Clone(c.History), now)
	return event.Restore(c.Parked, c.Event, event.Past{Attempts: c.Attempts, History: past[max(0, len(past)-maxHistory):]})
}

// own are the headers of the event itself. A parked event says how often it went
// through Sluice once it is delivered, which is once more than the stored one did.
func own(h nats.Header) nats.Header {
	out := make(nats.Header, len(h))
	for name, values := range h {
		if !hasPrefixFold(name, "Sluice-") && !hasPrefixFold(name, "Nats-") {
			out[name] = values
		}
	}
	if hops := whole(h, wire.HeaderHops); hops > 1 {
		out[wire.HeaderHops] = []string{strconv.FormatUint(min(hops-1, wire.MaxHops), 10)}
	}
	return out
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// first returns the first value of a header that a parker writes, in the case in
// which it writes it.
func first(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// whole reads a number, 0 where there is none.
func whole(h nats.Header, name string) uint64 {
	n, _ := strconv.ParseUint(first(h, name), 10, 64)
	return n
}

// moment reads a time, the zero one where there is none.
func moment(h nats.Header, name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, first(h, name))
	if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
		return time.Time{}
	}
	return t.UTC()
}
