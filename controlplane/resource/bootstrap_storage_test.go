package resource

import (
	"net/netip"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTheFirstStorageClass bootstraps twice: the class comes, and what users change of it stays.
func TestTheFirstStorageClass(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:8080")
	c := shared.Client("test")
	read := func() *storagev1.StorageClass {
		t.Helper()
		got, err := c.Get(t.Context(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}})
		if err != nil {
			t.Fatal(err)
		}
		return got.(*storagev1.StorageClass)
	}
	if err := shared.Bootstrap(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	class := read()
	if class.Provisioner != "petrel.run/local-path" || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" {
		t.Errorf("class %+v", class)
	}
	class.Annotations = nil
	if _, err := c.Update(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	if err := shared.Bootstrap(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if got := read(); len(got.Annotations) != 0 {
		t.Errorf("it is the default again: %v", got.Annotations)
	}
}
