package emitter

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/internal/secret"
	"github.com/sluicehq/sluice/services/internal/webhook"
)

// HTTP is the configuration of delivery to URLs.
type HTTP struct {
	// Allow names what may be called although its address is not public: ranges
	// (10.0.0.0/8), and hosts with their port (hooks.internal:8080).
	Allow []string `env:"SLUICE_HTTP_ALLOW" desc:"addresses that are not public and may be called: ranges, and hosts with their port"`

	// Proxy is "environment" where HTTP_PROXY, HTTPS_PROXY and NO_PROXY are to be
	// followed. What is judged is the address of the proxy then.
	Proxy string `env:"SLUICE_HTTP_PROXY" desc:"environment: requests go by HTTP_PROXY, HTTPS_PROXY and NO_PROXY"`

	// PerHost bounds the requests to one host at once, 1 to 10,000. Defaults to 64.
	PerHost int `env:"SLUICE_HTTP_PER_HOST" envDefault:"64" desc:"most requests to one host at once, over all subscriptions"`

	// SecretsDir has a file for each secret that requests are signed with.
	SecretsDir string `env:"SLUICE_SECRETS_DIR" desc:"where the secrets of deliver.http.secret_ref are, a file each"`

	// Env has the secrets that are variables. Nil: there are none.
	Env service.Env `env:"-"`
}

// proxyByEnvironment is the value of HTTP.Proxy that there is.
const proxyByEnvironment = "environment"

// Validate reports everything that is wrong with h.
func (h HTTP) Validate() error {
	err := h.sender().Validate()
	if h.Proxy != "" && h.Proxy != proxyByEnvironment {
		err = errors.Join(err, fmt.Errorf("SLUICE_HTTP_PROXY: %q: want %s, or nothing", h.Proxy, proxyByEnvironment))
	}
	return err
}

// sender is the configuration of what makes the requests.
func (h HTTP) sender() webhook.Config {
	c := webhook.Config{Allow: h.Allow, PerHost: h.PerHost, Secrets: secret.New(h.SecretsDir, h.Env)}
	if h.Proxy == proxyByEnvironment {
		c.Proxy = http.ProxyFromEnvironment
	}
	return c
}
