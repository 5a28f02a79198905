// One import is enough to use Holdfast: its types come from these modules.
@_exported public import RegionFailover
@_exported public import ReplayFormat
@_exported public import ReplayStore
