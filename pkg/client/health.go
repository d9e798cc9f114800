package client

import (
	"context"
	"iter"

	"github.com/sluicehq/sluice/pkg/wire"
)

// CheckHealth has the health monitor make a sweep now and returns its report.
func (c *Client) CheckHealth(ctx context.Context) (*wire.Report, error) {
	answer, err := call[wire.ReportResponse](ctx, c, wire.VerbHealthCheck, "", nil)
	if err != nil {
		return nil, err
	}
	return &answer.Report, nil
}

// HealthReport returns the report of the last sweep.
func (c *Client) HealthReport(ctx context.Context) (*wire.Report, error) {
	answer, err := call[wire.ReportResponse](ctx, c, wire.VerbHealthReport, "", nil)
	if err != nil {
		return nil, err
	}
	return &answer.Report, nil
}

// SubscriptionHealth returns the status of the subscription name.
func (c *Client) SubscriptionHealth(ctx context.Context, name string) (*wire.SubscriptionHealth, error) {
	answer, err := named[wire.SubscriptionHealthResponse](ctx, c, wire.VerbHealthSubscription, name, nil)
	if err != nil {
		return nil, err
	}
	return &answer.SubscriptionHealth, nil
}

// SetCleanup turns automatic repair on or off and returns what it is now. The
// switch outlives restarts of the monitor.
func (c *Client) SetCleanup(ctx context.Context, enabled bool) (bool, error) {
	answer, err := call[wire.CleanupResponse](ctx, c, wire.VerbHealthCleanup, "", wire.CleanupRequest{Enabled: &enabled})
	if err != nil {
		return false, err
	}
	return answer.Enabled, nil
}

// Repair does by hand what automatic repair would do about an issue, or with
// DryRun says what that is.
func (c *Client) Repair(ctx context.Context, req wire.RepairRequest) (*wire.Repair, error) {
	answer, err := call[wire.RepairResponse](ctx, c, wire.VerbHealthRepair, "", req)
	switch {
	case err != nil:
		return nil, err
	case answer.Repair == nil:
		return nil, missing(wire.VerbHealthRepair, "repair")
	}
	return answer.Repair, nil
}

// HealthReports yields the report of each sweep from now on. See [Client.Advisories]
// for how it begins and ends.
func (c *Client) HealthReports(ctx context.Context) (iter.Seq2[wire.Report, error], error) {
	return stream[wire.Report](ctx, c, c.ns.HealthReport())
}

// HealthChanges yields the changes of the status of the subscription name, or
// of all where name is "". See [Client.Advisories] for how it begins and ends.
func (c *Client) HealthChanges(ctx context.Context, name string) (iter.Seq2[wire.SubscriptionHealth, error], error) {
	if name == "" {
		name = "*"
	}
	return stream[wire.SubscriptionHealth](ctx, c, c.ns.HealthSubscription(name))
}
