from rest_framework import serializers

from pillarbox.live import ObjectType, register

from .models import Book, Card, Item, Label, Node, Series, Shelf, Sign, Volume


class ShelfSerializer(serializers.ModelSerializer):
    items = serializers.SlugRelatedField("title", many=True, read_only=True)
    readers = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Shelf
        fields = ["name", "items", "readers"]


class ItemSerializer(serializers.ModelSerializer):
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Item
        fields = ["title", "count", "price", "notes", "shelf", "borrower", "keeper", "tags"]


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["title", "pages"]


class CardSerializer(serializers.ModelSerializer):
    class Meta:
        model = Card
        fields = ["number", "colour", "holder"]


class SignSerializer(serializers.ModelSerializer):
    class Meta:
        model = Sign
        fields = ["address", "text", "data", "version"]


class LabelSerializer(serializers.ModelSerializer):
    class Meta:
        model = Label
        fields = ["upper"]


class NodeSerializer(serializers.ModelSerializer):
    children = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Node
        fields = ["name", "children"]


class SeriesSerializer(serializers.ModelSerializer):
    volumes = serializers.SlugRelatedField("title", many=True, read_only=True)
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Series
        fields = ["code", "volumes", "tags"]


class VolumeSerializer(serializers.ModelSerializer):
    class Meta:
        model = Volume
        fields = ["title", "series"]


@register
class SeriesType(ObjectType):
    name = "series"
    serializer_class = SeriesSerializer
    shows = ("tags__name", "volumes__*")
    grants = ("editors",)


@register
class VolumeType(ObjectType):
    name = "volume"
    serializer_class = VolumeSerializer
    shows = ("series",)


@register
class SignType(ObjectType):
    name = "sign"
    serializer_class = SignSerializer


@register
class LabelType(ObjectType):
    name = "label"
    serializer_class = LabelSerializer


@register
class NodeType(ObjectType):
    name = "node"
    serializer_class = NodeSerializer
    collections = {"node.children": "parent"}
    shows = ("children__*",)


@register
class ShelfType(ObjectType):
    name = "shelf"
    serializer_class = ShelfSerializer
    shows = ("readers__name", "items__*")


@register
class ItemType(ObjectType):
    name = "item"
    serializer_class = ItemSerializer
    collections = {"shelf.items": "shelf"}
    shows = ("tags__name",)


@register
class BookType(ObjectType):
    name = "book"
    serializer_class = BookSerializer


@register
class CardType(ObjectType):
    name = "card"
    serializer_class = CardSerializer
