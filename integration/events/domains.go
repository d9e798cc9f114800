package events

// domain is a part of the business: 30 types over 40 streams.
type domain struct {
	name    string
	types   []string // what ce-type says
	streams []string // without the domain's name
	entity  string   // the key of the main object in a body
	items   string   // the key of its array of objects
	status  []string
	// bare is set where events may come without ce-type: the types are then
	// single tokens.
	bare bool
}

// domains returns the five domains. It is a function so that there is no state.
func domains() []domain {
	regions := []string{"eu", "us", "ap", "sa"}
	numbered := func(prefix string) []string {
		digits := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}
		for i := range digits {
			digits[i] = prefix + digits[i]
		}
		return digits
	}
	return []domain{
		{
			name: "orders", entity: "order", items: "items",
			types: cross([]string{"order", "cart", "shipment", "return", "invoice"}, ".",
				[]string{"created", "updated", "confirmed", "cancelled", "delayed", "completed"}),
			streams: cross(regions, ".", numbered("shop-")),
			status:  []string{"open", "paid", "packed", "shipped", "delivered", "cancelled"},
		},
		{
			name: "payments", entity: "payment", items: "entries",
			types: cross([]string{"payment", "refund", "payout", "dispute", "mandate"}, ".",
				[]string{"requested", "authorized", "captured", "declined", "settled", "expired"}),
			streams: cross([]string{"card", "sepa", "wallet", "wire"}, ".", numbered("merchant_")),
			status:  []string{"pending", "authorized", "captured", "failed", "settled"},
		},
		{
			name: "users", entity: "user", items: "sessions",
			types: cross([]string{"user", "profile", "login", "consent", "team"}, ".",
				[]string{"registered", "changed", "verified", "locked", "merged", "deleted"}),
			streams: cross([]string{"web.de", "web.fr", "app.ios", "app.android"}, ".", numbered("cohort")),
			status:  []string{"active", "invited", "locked", "deleted"},
		},
		{
			name: "devices", entity: "device", items: "readings", bare: true,
			types: cross([]string{"telemetry", "alarm", "firmware", "battery", "link"}, "_",
				[]string{"reported", "raised", "cleared", "started", "finished", "lost"}),
			streams: cross([]string{"plant-a.hall1", "plant-a.hall2", "plant-b.yard", "plant-c.roof"}, ".", numbered("node")),
			status:  []string{"online", "offline", "degraded", "updating"},
		},
		{
			name: "repos", entity: "repository", items: "commits",
			types: cross([]string{"push", "issue", "pull_request", "release", "check"}, ".",
				[]string{"opened", "closed", "edited", "labeled", "assigned", "reopened"}),
			streams: cross([]string{"acme", "globex", "initech", "umbrella"}, ".", numbered("Repo-")),
			status:  []string{"open", "closed", "merged", "draft"},
		},
	}
}

// cross joins every a with every b.
func cross(as []string, sep string, bs []string) []string {
	all := make([]string, 0, len(as)*len(bs))
	for _, a := range as {
		for _, b := range bs {
			all = append(all, a+sep+b)
		}
	}
	return all
}
