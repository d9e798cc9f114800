package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// Destination is where the events of a subscription go.
type Destination struct {
	Name    string // of the subscription
	Epoch   uint64 // of its pool
	Replay  string // the id of the replay that it is for; "": it is for live delivery
	HTTP    *wire.HTTP
	AckWait time.Duration // after which the pool gives a delivery up
	// Gone is called, perhaps more than once, when the URL says that it wants no
	// events any more. It must not block.
	Gone func(why string)
}

// Target is the URL of one subscription. It is a pool.Target.
type Target struct {
	Destination
	sender *Sender
	url    *url.URL
	host   string            // whose slots it uses
	epoch  string            // as a header has it
	hide   *strings.Replacer // what answers may repeat of the request

	close    context.CancelFunc
	closed   <-chan struct{}
	whenOver func(cancel func()) (forget func() bool) // has Close cancel a request

	// These are guarded by Sender.mu.
	queue []job
	out   int // requests
}

// job is a delivery in the queue.
type job struct {
	pool.Sent
	at time.Time // when the pool sent it
}

// ErrClosed is what Send returns once the target is closed.
var ErrClosed = errors.New("the target is closed")

// Target returns the target of a subscription. Its URL must be valid.
func (s *Sender) Target(to Destination) (*Target, error) {
	u, err := url.Parse(to.HTTP.URL)
	if err != nil {
		return nil, errors.New("deliver.http.url is no URL") // the cause would repeat it
	}
	over, end := context.WithCancel(context.Background())
	return &Target{
		Destination: to, sender: s, url: u, host: u.Scheme + "://" + u.Host, epoch: strconv.FormatUint(to.Epoch, 10),
		hide: hider(u, to.HTTP.Headers), close: end, closed: over.Done(),
		whenOver: func(cancel func()) func() bool { return context.AfterFunc(over, cancel) },
	}, nil
}

// Send takes a delivery. It does not wait.
func (t *Target) Send(d pool.Sent) error {
	if t.isClosed() {
		return ErrClosed
	}
	t.sender.add(t, job{d, time.Now()})
	return nil
}

// Close ends the target: what waits is dropped, and what is out is cut off. None
// of it is answered.
func (t *Target) Close() {
	t.close()
	t.sender.remove(t)
}

func (t *Target) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// givenUp counts the deliveries in the queue that the pool has given up by now.
func (t *Target) givenUp(now time.Time) int {
	n := 0
	for n < len(t.queue) && !t.queue[n].at.Add(t.AckWait).After(now) {
		n++
	}
	return n
}

// deliver makes the request of a delivery. One that has waited for so long that
// the pool would give it up before its request is over asks for more time first.
func (t *Target) deliver(ctx context.Context, j job) {
	timeout := t.HTTP.Timeout.Std()
	switch left := t.AckWait - time.Since(j.at); {
	case left <= 0 || t.isClosed():
		return
	case left < timeout:
		j.Answer(wire.Answer{Kind: wire.AnswerWPI})
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer t.whenOver(cancel)()
	req, err := t.request(ctx, j.Sent)
	if err != nil {
		t.sender.log.Warn().Err(err).Str("subscription", t.Name).Str("url", shown(t.url)).Msg("event not sent")
		j.Answer(failed(err.Error()))
		return
	}
	resp, err := t.sender.client.Do(req)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // else it is we who gave up
			j.Answer(t.unanswered(ctx, err))
		}
		return
	}
	defer func(b io.Closer) { _ = b.Close() }(resp.Body) // it has been read, or is of no use
	defer time.AfterFunc(bodyTimeout, cancel).Stop()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = http.NoBody // it is the connection, and reading it has no end
	}
	t.answer(resp, j.Answer)
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // what is left, so that the connection can be used again
}

// answer tells what a response means.
func (t *Target) answer(resp *http.Response, tell func(wire.Answer)) {
	if resp.StatusCode == http.StatusGone {
		why := t.reason(resp)
		t.sender.log.Info().Str("subscription", t.Name).Str("url", shown(t.url)).Msg("url is gone")
		t.Gone(why)
		return // the pool waits, and no attempt is counted
	}
	tell(t.read(resp))
}
