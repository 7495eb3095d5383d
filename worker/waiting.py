"""How many messages wait in a queue; knows Celery's broker and nothing of what they mean."""

from celery import Celery
from kombu.exceptions import ChannelError


def waiting_messages(app: Celery, queue: str) -> int:
    """Messages that no worker has fetched. Sending to an empty queue only never fills it while nobody is there."""
    with app.connection_for_write() as connection:
        try:
            count: int = connection.default_channel.queue_declare(queue=queue, passive=True).message_count
        except ChannelError:
            return 0  # Redis knows no queue without messages
    return count
