package wire

// HTTP says which URL events are delivered to, and how.
type HTTP struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"` // of each request, beside those of the event
	Timeout Duration          `json:"timeout,omitzero"`  // until the answer is there
	// SecretRef names the secret that requests are signed with; "": they are not.
	// The emitter knows it, and it stands nowhere else.
	SecretRef string `json:"secret_ref,omitempty"`
}
