from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from apps.outbox.attempts import fingerprint


def derive_fingerprints(apps, schema_editor):
    """Give rows that failed before the fingerprint that they would get today."""
    rows = apps.get_model("outbox", "NotificationOutbox").objects.using(schema_editor.connection.alias)
    unknown = rows.filter(failed_at__isnull=False, error_fingerprint="")
    for row in unknown.only("error_type", "error_message").iterator():
        row.error_fingerprint = fingerprint(row.error_type, row.error_message)
        row.save(update_fields=["error_fingerprint"])


class Migration(migrations.Migration):
    # Nobody waits for the index of a large table.
    atomic = False

    dependencies = [("outbox", "0005_operations")]

    operations = [
        migrations.RunPython(derive_fingerprints, migrations.RunPython.noop),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                fields=["error_fingerprint", "failed_at"],
                include=["replayed_at", "object_type"],
                condition=models.Q(failed_at__isnull=False),
                name="outbox_cause",
            ),
        ),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                "id",
                condition=models.Q(failed_at__isnull=False, replayed_at=None),
                name="outbox_replayable",
            ),
        ),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                "stream", "id", condition=models.Q(is_move=True), name="outbox_moves"
            ),
        ),
    ]
