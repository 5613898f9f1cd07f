package transport

import "time"

// SetPatience is how long the other side may let this one wait.
func (c *Client) SetPatience(d time.Duration) { c.silence, c.search = d, d }
