package docker

import (
	"context"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/volume"
)

// Volume is a Docker volume.
type Volume struct {
	Name       string
	Driver     string // "local", or a plug-in
	Mountpoint string // where the engine shows it to containers; for "local" a directory of this host
	Options    map[string]string
	Labels     map[string]string
}

// Volumes lists all volumes, sorted by name.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	r, err := c.api.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return nil, wrap("list volumes", err)
	}
	var all []Volume
	for _, v := range r.Volumes {
		if v != nil {
			all = append(all, describeVolume(*v))
		}
	}
	slices.SortFunc(all, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Volume describes one volume. ErrNotFound: there is none.
func (c *Client) Volume(ctx context.Context, name string) (Volume, error) {
	v, err := c.api.VolumeInspect(ctx, name)
	if err != nil {
		return Volume{}, wrap("inspect volume "+name, err)
	}
	return describeVolume(v), nil
}

func describeVolume(v volume.Volume) Volume {
	return Volume{Name: v.Name, Driver: v.Driver, Mountpoint: v.Mountpoint, Options: v.Options, Labels: v.Labels}
}
