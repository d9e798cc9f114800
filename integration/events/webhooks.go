package events

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats.go"
)

const webhooksFile = "github-webhooks.ndjson.gz"

// Webhooks reads the real GitHub webhook deliveries in dir, which DataDir
// finds. It returns ok false where there are none.
func Webhooks(dir string) (all []Event, ok bool, err error) {
	path := filepath.Join(dir, webhooksFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open the webhooks: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return nil, false, fmt.Errorf("unpack %s: %w", path, err)
	}
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 1<<20)
	for line := 1; lines.Scan(); line++ {
		e, err := webhook(lines.Bytes(), line)
		if err != nil {
			return nil, false, fmt.Errorf("%s line %d: %w", path, line, err)
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", path, err)
	}
	return all, true, nil
}

func webhook(line []byte, n int) (Event, error) {
	var w struct {
		Type, Stream string
		Data         json.RawMessage
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return Event{}, err
	}
	if w.Type == "" || w.Stream == "" || len(w.Data) == 0 {
		return Event{}, errors.New("type, stream or data is missing")
	}
	stream := "github." + w.Stream
	return Event{
		Subject: stream, Type: w.Type, Stream: stream, Data: w.Data, JSON: true,
		Headers: nats.Header{"ce-type": {w.Type}, "ce-id": {strconv.Itoa(n)}},
	}, nil
}

// DataDir returns where the webhooks are in relation to this repository:
// ../shared/data, seen from its root. The root is the nearest directory with a
// go.mod, from the working directory upwards.
func DataDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared", "data"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the repository: no go.mod here or above")
		}
		dir = parent
	}
}
