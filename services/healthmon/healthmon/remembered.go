package healthmon

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// maxAttempts is more than any issue is tried; see Config.CleanupMaxAttempts.
const maxAttempts = 1000

// remembered is an entry of the health bucket.
type remembered struct {
	value  []byte
	stored time.Time // by the server's clock
}

// issue reads an issue that lies under key. One that cannot be true is an error,
// as one that cannot be read: an issue since long ago would expire subscriptions,
// one of the future never.
func (r remembered) issue(key string) (heldIssue, error) {
	var h heldIssue
	if err := json.Unmarshal(r.value, &h); err != nil {
		return heldIssue{}, fmt.Errorf("decode issue %q: %w", key, err)
	}
	if why := h.implausible(key, r.stored); why != "" {
		return heldIssue{}, fmt.Errorf("decode issue %q: %s", key, why)
	}
	return h, nil
}

// implausible says what in an issue cannot be true; "" is nothing.
func (h *heldIssue) implausible(key string, stored time.Time) string {
	i := h.Issue
	switch {
	case issueKey(check.Ref{Kind: i.Kind, Name: i.Name}) != key:
		return "it is another's"
	case h.Repair.Attempts < 0 || h.Repair.Attempts > maxAttempts:
		return fmt.Sprintf("%d attempts", h.Repair.Attempts)
	}
	if why := subscription.TimeFault(i.Since, stored); why != "" {
		return "since: " + why
	}
	if h.Repair.Attempts > 0 {
		return subscription.TimeFault(h.Repair.LastAt, stored)
	}
	return ""
}

// status is issue for the status of a subscription.
func (r remembered) status(key string) (keptStatus, error) {
	var st keptStatus
	if err := json.Unmarshal(r.value, &st); err != nil {
		return keptStatus{}, fmt.Errorf("decode status %q: %w", key, err)
	}
	if err := st.implausible(key, r.stored); err != nil {
		return keptStatus{}, fmt.Errorf("decode status %q: %w", key, err)
	}
	return st, nil
}

// implausible says what in a status cannot be true.
func (st *keptStatus) implausible(key string, stored time.Time) error {
	if !wire.ValidName(st.Name) || strings.TrimPrefix(key, prefixSubscription) != st.Name {
		return errors.New("it is another's")
	}
	if st.Listeners < 0 || st.LagAge < 0 || st.Rate < 0 || st.Owner != "" && !wire.ValidName(st.Owner) {
		return errors.New("numbers or an owner that there cannot be")
	}
	for _, at := range []time.Time{st.Since, st.CheckedAt} {
		if why := subscription.TimeFault(at, stored); why != "" {
			return errors.New(why)
		}
	}
	return nil
}

// report says why a report cannot be read, or cannot be true.
func (r remembered) report() error {
	var rep wire.Report
	if err := json.Unmarshal(r.value, &rep); err != nil {
		return fmt.Errorf("decode report: %w", err)
	}
	late := subscription.TimeFault(rep.Timestamp, r.stored)
	switch {
	case rep.Type != wire.ReportType || rep.Status == "" || !wire.ValidName(rep.Leader):
		return errors.New("decode report: it is none")
	case min(rep.TotalSubscriptions, rep.TotalPools, rep.TotalEmitters, rep.Summary.Total) < 0 || rep.CheckDurationMS < 0:
		return errors.New("decode report: counts below nothing")
	case late != "":
		return fmt.Errorf("decode report: %s", late)
	}
	return nil
}
