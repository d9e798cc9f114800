package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxRevision is above every revision of a bucket, and every epoch: buckets count
// from the microseconds since 1970, and JSON readers keep whole numbers exactly
// up to here.
const MaxRevision = 1<<53 - 1

// Bounds of what a session or a lease can truly say.
const (
	maxPools     = 1 << 24
	maxInFlight  = 1<<31 - 1 // what an int holds on any machine
	maxVersion   = 64        // bytes
	lastYear     = 2200      // no clock that anybody set shows more
	maxRoleBytes = 64
)

// UnmarshalJSON reads a session. One that can be read and cannot be true is an
// error, as one that cannot be read. Members of a later version are ignored.
func (s *Session) UnmarshalJSON(b []byte) error {
	type plain Session
	if err := json.Unmarshal(b, (*plain)(s)); err != nil {
		return err
	}
	return s.implausible()
}

// implausible says what in a session cannot be true.
func (s *Session) implausible() error {
	return errors.Join(
		between("bytes of service", len(s.Service), maxRoleBytes), name("instance", s.Instance),
		between("pools", s.Pools, maxPools), between("in_flight", s.InFlight, maxInFlight),
		between("bytes of version", len(s.Version), maxVersion), thinkable("started_at", s.StartedAt),
	)
}

// UnmarshalJSON reads a lease, as that of Session does. That its epoch is none
// that the bucket has come to is for whoever knows its revision to say.
func (l *Lease) UnmarshalJSON(b []byte) error {
	type plain Lease
	if err := json.Unmarshal(b, (*plain)(l)); err != nil {
		return err
	}
	return l.implausible()
}

// implausible says what in a lease cannot be true.
func (l *Lease) implausible() error {
	var late error
	if l.Epoch > MaxRevision {
		late = fmt.Errorf("epoch: %d is beyond all that there can be", l.Epoch)
	}
	return errors.Join(
		between("bytes of role", len(l.Role), maxRoleBytes), name("instance", l.Instance), late, thinkable("since", l.Since),
	)
}

func name(field, s string) error {
	if !ValidName(s) {
		return fmt.Errorf("%s: %.80q is no name", field, s)
	}
	return nil
}

func between(field string, v, most int) error {
	if v < 0 || v > most {
		return fmt.Errorf("%s: %d, want 0 to %d", field, v, most)
	}
	return nil
}

// thinkable finds fault with a time that no clock shows. One before Sluice is no
// fault: a machine without a clock begins at 1970.
func thinkable(field string, at time.Time) error {
	if at.Year() >= lastYear {
		return fmt.Errorf("%s: %s is beyond all clocks", field, at.Format(time.RFC3339))
	}
	return nil
}
