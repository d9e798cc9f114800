// Package secret finds secrets by name, so that what is stored and shown names
// them only.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// EnvPrefix begins the variables that hold secrets.
const EnvPrefix = "SLUICE_SECRET_"

// maxBytes bounds a secret, as everything that is read.
const maxBytes = 4096

// Store finds secrets in a directory, in a file of the secret's name, and else in
// the environment. It is safe for concurrent use.
type Store struct {
	dir string            // "": there is none
	env map[string]string // by variable

	mu    sync.Mutex
	files map[string]file
}

// file is a secret as it was last read.
type file struct {
	info  os.FileInfo
	words []string
}

// New returns a store over a directory, "" for none, and an environment.
func New(dir string, env map[string]string) *Store {
	return &Store{dir: dir, env: env, files: map[string]file{}}
}

// Words returns the words of a secret, which white space separates. A file is
// read again when it has changed. The error names the secret and the remedy, and
// holds nothing of what was read. The name must be a valid one of the contract.
func (s *Store) Words(name string) ([]string, error) {
	if s.dir != "" {
		words, err := s.fromFile(name)
		if !errors.Is(err, os.ErrNotExist) {
			return words, err
		}
	}
	if words := strings.Fields(s.env[variable(name)]); len(words) > 0 {
		return words, nil
	}
	return nil, fmt.Errorf("secret %q is not there: set %s for the emitter, or put a file %s into SLUICE_SECRETS_DIR",
		name, variable(name), name)
}

// variable is the environment variable of a secret.
func variable(name string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func (s *Store) fromFile(name string) ([]string, error) {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(name, err)
	}
	if f := s.known(name); same(f.info, info) {
		return f.words, nil
	}
	text, err := read(path)
	switch {
	case err != nil:
		return nil, unreadable(name, err)
	case len(text) > maxBytes:
		return nil, fmt.Errorf("secret %q: its file has more than %d bytes", name, maxBytes)
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return nil, fmt.Errorf("secret %q: its file is empty", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = file{info, words}
	return words, nil
}

func (s *Store) known(name string) file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[name]
}

// same reports whether a file is as it was.
func same(a, b os.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// unreadable leaves the path out: it is the operator's, and errors reach users.
func unreadable(name string, err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("secret %q: read its file: %w", name, err)
}
