package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Unpublish takes back all that drivers mounted for a pod, of which dir holds the volumes.
func (d *Drivers) Unpublish(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, d.unpublish(ctx, filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (d *Drivers) unpublish(ctx context.Context, dir string) error {
	rec, err := readRecord(dir)
	if err != nil || rec == nil {
		return err
	}
	r, err := d.driver(rec.Driver)
	if err != nil {
		return err
	}
	defer d.alone(rec.key())()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := filepath.Join(dir, targetName)
	if _, err := r.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: rec.Handle, TargetPath: target}); err != nil {
		return fmt.Errorf("csi driver %s: unpublish volume: %w", r.name, err)
	}
	if err := removeEmpty(target); err != nil {
		return err
	}
	if rec.Stage != "" {
		if err := d.unstage(ctx, r, rec); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, recordName)); err != nil {
		return err
	}
	d.noteRecords()
	return nil
}

// unstage lets go of a volume that no other pod of the node has.
func (d *Drivers) unstage(ctx context.Context, r *driver, rec *record) error {
	users, err := d.users(rec.key())
	if err != nil || users > 1 { // this one is still written down
		return err
	}
	if _, err := r.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: rec.Handle, StagingTargetPath: rec.Stage}); err != nil {
		return fmt.Errorf("csi driver %s: unstage volume: %w", r.name, err)
	}
	if err := removeEmpty(rec.Stage); err != nil {
		return err
	}
	return removeEmpty(filepath.Dir(rec.Stage))
}

// removeEmpty removes what a driver should have left empty. What is in it, or mounted on it, is not ours to delete.
func removeEmpty(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("what a csi driver mounted is still there: %w", err)
}
