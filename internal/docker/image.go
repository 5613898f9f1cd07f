package docker

import (
	"context"
	"slices"
)

// Image is an image that the engine has.
type Image struct {
	ID      string   // "sha256:..."
	Digests []string // "postgres@sha256:...", by which registries know it, sorted; none of an image that was built here
}

// Image describes one image by name or id. ErrNotFound: the engine has none of that.
func (c *Client) Image(ctx context.Context, name string) (Image, error) {
	r, err := c.api.ImageInspect(ctx, name)
	if err != nil {
		return Image{}, wrap("inspect image "+name, err)
	}
	return Image{ID: r.ID, Digests: slices.Sorted(slices.Values(r.RepoDigests))}, nil
}
