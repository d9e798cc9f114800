package jsapi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/jsapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFull_SaysWhatIsFull(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string // "": not full
		own  bool
	}{
		{nil, "", false},
		{context.DeadlineExceeded, "", false},
		{&jetstream.APIError{ErrorCode: 10077, Description: "message too large"}, "", false},
		{&jetstream.APIError{ErrorCode: 10077, Description: "write /d: no space left on device"}, "disk is full", false},
		{&jetstream.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}, "storage is full: the bucket b holds as much", true},
		{&jetstream.APIError{ErrorCode: 10077, Description: "maximum messages exceeded"}, "as much as it may", true},
		{&jetstream.APIError{ErrorCode: 10047}, "max_file_store", false},
		{&jetstream.APIError{ErrorCode: 10023, Description: "insufficient resources"}, "disk", false},
		{&jetstream.APIError{ErrorCode: 10002}, "account", false},
		{errors.Join(errors.New("x"), &jetstream.APIError{ErrorCode: 10028}), "memory", false},
		{&jetstream.APIError{ErrorCode: 10071}, "", false},
	} {
		err := jsapi.Full("the bucket b", tt.err)
		var full *jsapi.FullError
		if is := errors.As(err, &full); is != (tt.want != "") || !errors.Is(err, tt.err) {
			t.Errorf("Full(%v) = %v, want %q", tt.err, err, tt.want)
		} else if is && (!strings.Contains(full.Plain(), tt.want) || full.Own != tt.own || !strings.HasPrefix(err.Error(), full.Plain()+": ")) {
			t.Errorf("Full(%v) = %v, own %v, want %q", tt.err, err, full.Own, tt.want)
		}
	}
}
